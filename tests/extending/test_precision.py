"""CONTRIBUTING's recipe for a precision: `precisions.py` and the conversion in `export/modules.py` are all it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import record

PROGRAM = Path(__file__).with_name("dummy_precision.py")


def sacvit(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the commands with the precision added."""
    return subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.slow
def test_every_command_knows_it(tmp_path: Path) -> None:
    bundle = tmp_path / "tiny.sacvit"
    done = sacvit("export", "--ckpt", record.TINY, "--out", bundle, "--bf16w", "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert "bf16w: parity with the reference" in done.stdout

    done = sacvit("verify", bundle, "--precision", "bf16w", "--json")
    assert done.returncode == 0, done.stderr
    parity = json.loads(done.stdout)["parity"]["bf16w"]
    assert parity["tolerance"] == 5e-2 and 1e-4 < parity["largest_error"] < 5e-2

    done = sacvit("infer", record.TINY_IMAGES[0], "--bundle", bundle, "--precision", "bf16w", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"]

    done = sacvit("infer", "--help")
    assert "auto, fp32, fp16, int8, bf16w" in " ".join(done.stdout.split())


def test_without_it_the_name_is_refused() -> None:
    command = [sys.executable, "-m", "sacvit_deploy", "export", "--ckpt", str(record.TINY), "--bf16w"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=record.ROOT)
    assert done.returncode == 2 and "--bf16w" in done.stderr
