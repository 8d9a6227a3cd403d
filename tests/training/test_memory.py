"""Freed memory stays with the process, for the next tensor of the same size."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from sacvit_deploy.training.memory import keep_memory

# In a process of its own, as the switch is the process's. 24 MiB: an older glibc always maps blocks above 32 MiB.
PROGRAM = """
import resource, sys
from sacvit_deploy.training.memory import keep_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

if sys.argv[1] == "keep":
    assert keep_memory()
before = resident()
block = bytearray(b"x") * 24 * 2**20
filled = resident()
del block
print(filled - before, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's switch")
@pytest.mark.parametrize("how", ["keep", "return"])
def test_a_freed_block_stays_only_if_that_is_asked_for(how: str) -> None:
    # Of another allocator, of glibc's with other limits, or set by keep_memory in the tests' own process.
    hidden = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], env=env, capture_output=True, text=True, check=True)
    filled, left = (int(word) / 2**20 for word in done.stdout.split())
    assert filled > 20
    assert left > 20 if how == "keep" else left < 4


def test_it_says_where_there_is_no_such_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")  # the user's own choice stays
    assert keep_memory() is False
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
