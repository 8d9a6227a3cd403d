"""The import contracts of pyproject.toml: the code keeps them, and they notice what they are there to notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and its rooms to change; the symlinks of the rooms become folders."""
    shutil.copytree(ROOT / "sacvit_deploy", tmp_path / "sacvit_deploy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """Run import-linter in a folder."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": "", "COLUMNS": "200"}, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def add_import(module: Path, imported: str) -> None:
    module.write_text(f"import {imported}\n" + module.read_text(encoding="utf-8"), encoding="utf-8")


def test_every_import_goes_down() -> None:
    code, said = lint(ROOT)
    assert code == 0, said
    names = [name for _, _, names in os.walk(ROOT / "sacvit_deploy", followlinks=True) for name in names]
    count = sum(name.endswith(".py") for name in names)
    assert f"Analyzed {count} files" in said  # those of the rooms behind the links, too


def test_an_import_of_a_room_by_the_runtime_is_noticed(copy: Path) -> None:
    add_import(copy / "sacvit_deploy/errors.py", "sacvit_deploy.export.graph")
    code, said = lint(copy)
    assert code == 1
    assert "Imports go down the tower BROKEN" in said and "sacvit_deploy.errors -> sacvit_deploy.export.graph" in said


def test_an_import_of_a_higher_room_is_noticed(copy: Path) -> None:
    add_import(copy / "sacvit_deploy/engines/build.py", "sacvit_deploy.benchmarks.cli")
    code, said = lint(copy)
    assert code == 1
    assert "sacvit_deploy.engines.build -> sacvit_deploy.benchmarks.cli" in said


def test_a_circle_of_two_modules_in_one_room_is_noticed(copy: Path) -> None:
    room = copy / "sacvit_deploy/engines"
    (room / "one.py").write_text("import sacvit_deploy.engines.other\n")
    (room / "other.py").write_text("import sacvit_deploy.engines.one\n")
    code, said = lint(copy)
    assert code == 1
    assert "No cycles are allowed in sacvit_deploy.engines" in said


def test_a_module_without_a_place_is_noticed(copy: Path) -> None:
    (copy / "sacvit_deploy/stray.py").write_text("")
    code, said = lint(copy)
    assert code == 1
    assert "not listed as layers" in said and "sacvit_deploy.stray" in said
