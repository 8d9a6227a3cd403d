"""The wheel: it holds the package and nothing else, and it runs where neither the sources nor torch are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import click
import numpy
import onnxruntime
import PIL
import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.identity import answers_digest
from tests.data import record

PACKAGE = record.ROOT / "sacvit_deploy"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated")
DEPENDENCIES = (click, numpy, onnxruntime, PIL)
# In the place of torch: it can't be imported, and notes that somebody tried.
NO_TORCH = """
from pathlib import Path
Path(__file__).with_name("torch-was-asked-for").touch()
raise ImportError("no torch here")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network from a copy of the sources, so that no earlier build gets into it."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(record.ROOT / name, sources)
    rooms = [link.resolve() for link in PACKAGE.iterdir() if link.is_symlink()]
    for room in (PACKAGE, *rooms):
        shutil.copytree(room, sources / room.name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    run(*PIP, "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, sources)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel; its dependencies are borrowed from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    run(*PIP, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # A .pth file inside a folder that a .pth file names is not read: the editable install stays out.
    places = dict.fromkeys(str(Path(str(module.__file__)).parents[1]) for module in DEPENDENCIES)
    (site / "borrowed.pth").write_text("\n".join(places) + "\n")
    (site / "torch.py").write_text(NO_TORCH)
    return folder


def run(*command: str | Path) -> str:
    """Run a command outside the repository and return what it printed."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "SACVIT_BUNDLE", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=Path(sysconfig.get_path("data")).anchor, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    expected = {
        (Path(folder) / name).relative_to(record.ROOT).as_posix()
        for folder, _, names in os.walk(PACKAGE, followlinks=True)
        for name in names
        if "__pycache__" not in folder
    }
    assert {"sacvit_deploy/py.typed", "sacvit_deploy/export/pictures/0.jpg"} < expected
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_it_answers_as_the_sources_do(environment: Path) -> None:
    image = record.ROOT / "export/pictures/4.jpg"
    said = run(environment / "bin/sacvit-infer", image, "--bundle", record.BEFORE, "--precision", "fp32", "--json")
    model = SACViT(record.BEFORE, precision="fp32")
    asked = {"eta": model.eta, "alpha": model.config.method.alpha, "precision": "fp32"}
    asked["bundle"] = answers_digest(model.bundle, "fp32")
    expected = {**model.predict(image).to_dict(k=1), **asked}
    found = json.loads(said)
    assert found["stage"] == 2
    timeless = [{key: value for key, value in facts.items() if key != "timing_ms"} for facts in (found, expected)]
    assert timeless[0] == {**timeless[1], "position": 0}
    assert_no_torch(environment)


def test_the_package_that_runs_is_the_wheels(environment: Path) -> None:
    for module in ("sacvit_deploy", "sacvit_deploy.export", "sacvit_deploy.benchmarks"):
        place = Path(run(environment / "bin/python", "-c", f"import {module}; print({module}.__file__)").strip())
        assert place.is_relative_to(environment)


@pytest.mark.parametrize("command", ["sacvit", "sacvit-export", "sacvit-infer"])
def test_every_command_starts(environment: Path, command: str) -> None:
    assert "Usage:" in run(environment / "bin" / command, "--help")
    assert_no_torch(environment)


def assert_no_torch(environment: Path) -> None:
    assert not list(environment.rglob("torch-was-asked-for"))
