"""A Ray of this machine alone: few CPUs, a small object store, nothing that listens beyond 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import ray

from sacvit_deploy.benchmarks.load.processes import descendants, kill_first, memory, named


@contextlib.contextmanager
def local_ray(cpus: int = 2, object_store: int = 150) -> Iterator[str]:
    """Run Ray until the block ends, and give its address. object_store: MB."""
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own would give way to whatever else the machine does
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets lie in it, whose paths must be short
    try:
        ray.init(
            address="local", num_cpus=cpus, object_store_memory=object_store << 20, include_dashboard=False,
            log_to_driver=False, logging_level="error", _temp_dir=folder, _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield str(ray.get_runtime_context().gcs_address)
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def processes(name: str) -> list[int]:
    """Return the ids of this Ray's processes that run a class of that name, which Ray writes into their titles."""
    return named(named(descendants(os.getpid()), "ray::"), name)


def used_memory() -> float:
    """Return the memory of all of this Ray, MB: its replicas, and the processes that manage them."""
    return memory(descendants(os.getpid()))


def kill_one(name: str) -> None:
    """End one process that runs a class of that name, as a machine that fails would. Raises BackendError."""
    kill_first(processes(name), name)
