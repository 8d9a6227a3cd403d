"""The whole check as people call it, on the CPU: prepared, run, run again, its table printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.gpu_check.carried import EXAMPLE, SPEED, pack
from sacvit_deploy.benchmarks.gpu_check.steps import STEPS
from tests.data import record

ROOT = Path(__file__).parents[3]


def call(*arguments: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sacvit_deploy.benchmarks.gpu_check", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == expect, done.stderr
    return done


@pytest.mark.slow
def test_all_steps_and_then_none(tmp_path: Path) -> None:
    folder, out = tmp_path / "carried", tmp_path / "out"
    pack(folder, {SPEED: record.BEFORE, EXAMPLE: record.BEFORE})
    options = ["--out", out, "--device", "cpu", "--precision", "fp32", "--batch", "4,1", "--images", 8]
    options += ["--least", 8, "--rounds", 1, "--seconds", 0.01]
    printed = call("run", folder, *options).stdout
    data = json.loads((out / "gpu-check.json").read_text())
    assert list(data["steps"]) == list(STEPS)
    for name, step in data["steps"].items():
        if name.startswith(("tensorrt", "jpeg")):
            assert step["state"] in ("done", "not run") and (step["state"] == "done" or step["reason"])
        else:
            assert step["state"] == "done" and step["rows"], (name, step)
    again = call("run", folder, *options).stdout
    assert "at most" in printed and "at most" not in again
    table = (out / "gpu-check.txt").read_text()
    assert table.startswith("CPU\n  python -m sacvit_deploy.benchmarks.gpu_check run ")
    assert call("table", out / "gpu-check.json").stdout == table
    once_more = call("run", folder, *options, "--steps", "facts", "--again", "facts").stdout
    assert "facts: the machine, at most 60 s" in once_more
    assert "is of other settings" in call("run", folder, *options, "--rounds", 2, expect=1).stderr


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    done = call("run", tmp_path, "--out", tmp_path / "out", "--steps", "facts,nothing", expect=1)
    assert done.stderr.startswith("Error: --steps facts,nothing: choose among facts, labels")
    assert "Error: " in call("table", tmp_path / "none.json", expect=1).stderr
