"""Freed memory stays with the process: the next tensor of the same size causes no page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs in a process of its own: the setting is per process, and must come before torch's first tensor.
PROGRAM = """
import resource, sys
from sacvit_deploy.training.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
import torch
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16_000_000).add_(1)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[2:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's switch")
def test_pages_are_reused() -> None:
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout
        )
        for how in ("keep", "return")
    }
    assert faults["keep"] < faults["return"] / 10
