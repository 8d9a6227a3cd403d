"""A Ray of one machine: two CPUs, a small object store, nothing that listens beyond 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ray


@contextlib.contextmanager
def cluster() -> Iterator[None]:
    """Run Ray until the block ends."""
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it, whose paths must be short
    try:
        ray.init(
            address="local", num_cpus=2, object_store_memory=150 << 20, include_dashboard=False,
            log_to_driver=False, logging_level="error", _temp_dir=folder, _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def processes(name: str) -> list[int]:
    """Return the ids of this Ray's processes that run a class of that name, which Ray writes into their titles."""
    found = []
    session = f"{os.getpid()}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                title, started_by = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
                if title.startswith(b"ray::") and name.encode() in title and b"SACVIT_TEST=" + session in started_by:
                    found.append(int(entry.name))
    return found


def kill(name: str) -> None:
    """End one process that runs a class of that name, as a machine that fails would."""
    os.kill(processes(name)[0], signal.SIGKILL)
