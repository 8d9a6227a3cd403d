"""The program examples/ray_serve.py on a Ray of this machine, as it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ray import serve

from sacvit_deploy.benchmarks.load.generator import TIMEOUT, Server
from sacvit_deploy.benchmarks.load.local_ray import processes, used_memory
from sacvit_deploy.benchmarks.load.wires import RAY, Wire
from sacvit_deploy.errors import BackendError

PROGRAM = Path(__file__).resolve().parents[2] / "examples/ray_serve.py"
STAGES = ("StageOneReplica", "StageTwoReplica")


@contextlib.contextmanager
def ray_example(address: str, port: int, *arguments: str, wire: Wire = RAY) -> Iterator[Server]:
    """Run the program on the Ray at an address until the block ends. Raises BackendError where it does not answer."""
    command = [sys.executable, str(PROGRAM), "--port", str(port), *arguments]
    environment = {**os.environ, "RAY_ADDRESS": address}
    # A file, as Ray writes a line for each request.
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            if "answers" not in process.stdout.readline():
                log.seek(0)
                raise BackendError(f"{PROGRAM.name} did not start:\n{log.read()[-6000:]}")
            yield Server(port, wire, used_memory)
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            finally:
                process.kill()


def replicas() -> dict[str, tuple[int, int]]:
    """Return of each stage how many replicas run by Serve's own status, and how many processes there are."""
    deployments = serve.status().applications["sacvit"].deployments
    states = {name: dict(deployments[name].replica_states) for name in STAGES}
    running = {name: sum(count for state, count in states[name].items() if "RUNNING" in state) for name in STAGES}
    return {name: (running[name], len(processes(name))) for name in STAGES}
