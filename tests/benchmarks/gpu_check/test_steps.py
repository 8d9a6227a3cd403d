"""A step is a process that needs no more than the card's machine has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.steps import MARK, STEPS

BARE = """
import sys
for name in ("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "matplotlib", "timm"):
    sys.modules[name] = None  # can't be imported
"""
PROGRAM = """
import sys
from sacvit_deploy.benchmarks.gpu_check.check_settings import read_settings
from sacvit_deploy.benchmarks.gpu_check.steps import run_step
run_step(sys.argv[1], read_settings(sys.argv[2]))
"""
WITHOUT_TORCH = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "torch" else find(name, *more)
"""


@pytest.mark.parametrize("name", [name for name in STEPS if name not in ("pytorch", "facts", "labels")])
def test_it_needs_no_torch_and_nothing_of_the_exporter(name: str, settings: Settings) -> None:
    call = [sys.executable, "-c", BARE + PROGRAM, name, settings.to_json()]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line.removeprefix(MARK)) for line in done.stdout.splitlines() if line.startswith(MARK)]
    *rows, end = lines
    assert end["end"] == "done" or name.startswith(("tensorrt", "jpeg"))
    assert all("row" in line for line in rows) and (rows or end["reason"])


def test_neither_does_the_command_that_starts_them() -> None:
    program = BARE + "import sacvit_deploy.benchmarks.gpu_check.__main__ as main; main.command()"
    done = subprocess.run([sys.executable, "-c", program, "run", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--minutes" in done.stdout, done.stderr


def test_pytorch_without_torch_is_a_reason(settings: Settings) -> None:
    call = [sys.executable, "-c", WITHOUT_TORCH + PROGRAM, "pytorch", settings.to_json()]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert '"end": "not run", "reason": "torch is not installed here"' in done.stdout
