"""Freed memory stays with the process: the next tensor of the same size causes almost no page faults."""

from __future__ import annotations

import os
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


def page_faults(mode: str) -> int:
    # keep_memory sets this variable, and other tests call it in the process that runs them.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    command = [sys.executable, "-c", PROGRAM, mode]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's switch")
def test_pages_are_reused() -> None:
    assert page_faults("keep") < page_faults("return") / 10
