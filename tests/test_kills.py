"""A few kills of every command that writes; `python -m tests.kills 100` has more."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.data import record
from tests.kills.kinds import KINDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: kills are sent to forked processes"),
]


@pytest.mark.parametrize(("kind", "way"), [*((kind, "--seed=1") for kind in KINDS), ("pack", "--two-renames")])
def test_killed_at_random_moments(kind: str, way: str) -> None:
    if kind == "build" and importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip("not run: TensorRT-RTX has no wheel for this platform")
    command = [sys.executable, "-m", "tests.kills", "4", kind, way]
    done = subprocess.run(command, cwd=record.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{kind}: 4 kills, ")
