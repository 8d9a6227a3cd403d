"""Running the installed commands as processes of their own, with the libraries of the workstation out of reach."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import start_process

# Read by Python at its start: an import of a named library fails, and is noted even where the failure is caught.
SITECUSTOMIZE = """
import os
import sys


class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["GUARD_NAMES"].split(","):
            with open(os.environ["GUARD_NOTES"], "a") as notes:
                notes.write(name + "\\n")
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


sys.meta_path.insert(0, Guard())
"""
REPOSITORY = Path(__file__).parents[2]
WORKSTATION = ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors")


class Commands:
    """Runs commands by name; `notes` tells which forbidden libraries they asked for."""

    def __init__(self, folder: Path) -> None:
        self.cwd = folder / "cwd"
        self.cwd.mkdir()
        self.notes = folder / "notes"
        self._site = folder / "site"
        self._site.mkdir()
        (self._site / "sitecustomize.py").write_text(SITECUSTOMIZE)

    def start(
        self,
        *arguments: str | Path,
        forbid: tuple[str, ...] = WORKSTATION,
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command in an empty current folder."""
        name, *rest = arguments
        environment = {key: value for key, value in os.environ.items() if key != "SACVIT_BUNDLE"}
        environment |= {
            # The repository these tests stand in, whichever one is installed.
            "PYTHONPATH": os.pathsep.join([str(self._site), str(REPOSITORY)]),
            "GUARD_NAMES": ",".join(forbid),
            "GUARD_NOTES": str(self.notes),
            **(env or {}),
        }
        script = Path(sysconfig.get_path("scripts")) / name
        return start_process(
            [str(script), *map(str, rest)],
            cwd=self.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *arguments: str | Path, expect: int = 0, **kw: Any) -> subprocess.CompletedProcess[str]:
        """Run a command, check its exit code, and check that it printed no traceback and asked for no torch."""
        process = self.start(*arguments, **kw)
        out, err = process.communicate(timeout=300)
        assert process.returncode == expect, f"exit code {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A runner of commands; at the end, none may have asked for a library of the workstation."""
    (tmp_path / "commands").mkdir()
    commands = Commands(tmp_path / "commands")
    yield commands
    assert not commands.notes.exists(), f"imported: {commands.notes.read_text().split()}"
