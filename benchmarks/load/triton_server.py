"""A real Triton server on this machine: the binary of the wheel nvidia-pytriton, with its Python backend."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sacvit_deploy.benchmarks.load.ports import free_ports
from sacvit_deploy.benchmarks.load.processes import descendants, memory, named
from sacvit_deploy.errors import BackendError, UsageError

READY = 180.0  # seconds; the limit of a loaded machine
ENDING = 60.0
STUB = "triton_python_backend_stub"  # the program in which the Python backend runs an instance of a model


@dataclass(frozen=True)
class TritonServer:
    """A running server: its ports on 127.0.0.1, process and log."""

    http: int
    grpc: int
    metrics: int
    process: subprocess.Popen[bytes]
    log: Path

    def stubs(self, model: str) -> list[int]:
        """Return the ids of the processes in which the Python backend runs a model's instances."""
        return named(named(descendants(self.process.pid), STUB), f"/{model}/1/")

    def memory(self) -> float:
        """Return the memory of the server and of its Python models, MB."""
        return memory([self.process.pid, *descendants(self.process.pid)])

    def waiting(self, model: str) -> float:
        """Return how many requests wait for an instance of a model."""
        text = (ask(self.metrics, "/metrics") or b"").decode()
        found = re.search(rf'^nv_inference_pending_request_count{{model="{model}".*}} (\S+)', text, re.MULTILINE)
        return float(found[1]) if found else float("nan")


def ask(port: int, path: str) -> bytes | None:
    """Return the body of a GET, None where the status is not 200. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ENDING)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        return body if response.status == 200 else None
    finally:
        connection.close()


def wheel_folder() -> Path:
    """Return the folder of the server in pytriton's wheel. Raises UsageError where it is not installed."""
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise UsageError("pytriton, whose wheel brings Triton, is not installed: pip install nvidia-pytriton")
    return Path(spec.origin).parent / "tritonserver"


@contextlib.contextmanager
def triton_server(repository: Path, folder: Path) -> Iterator[TritonServer]:
    """Serve a model repository on 127.0.0.1 until the block ends. folder: an empty one, for the server's own files.

    Raises BackendError with the end of its log where it does not get ready, UsageError without pytriton.
    """
    wheel, log = wheel_folder(), folder / "triton.log"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    backends = folder / "backends"
    shutil.copytree(wheel / "backends", backends)
    shutil.copy(wheel / "python_backend_stubs" / version / STUB, backends / "python")
    libraries = [sysconfig.get_config_var("LIBDIR"), str(wheel.parents[1] / "nvidia_pytriton.libs")]
    # The stub runs the first python3 of the path, isolated: it sees what is installed, not PYTHONPATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    ports = free_ports(3)
    shared = f"sacvit-{ports[0]}"  # of its models' memory, which a server that is killed leaves behind
    command = [
        str(wheel / "bin/tritonserver"), f"--model-repository={repository}", f"--backend-directory={backends}",
        "--http-address=127.0.0.1", f"--http-port={ports[0]}", "--grpc-address=127.0.0.1", f"--grpc-port={ports[1]}",
        "--metrics-address=127.0.0.1", f"--metrics-port={ports[2]}", "--exit-timeout-secs=3",
        f"--backend-config=python,shm-region-prefix-name={shared}",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    server = TritonServer(ports[0], ports[1], ports[2], process, log)
    try:
        wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDING)
        with contextlib.suppress(ProcessLookupError):  # stubs that outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(ENDING)
        for region in Path("/dev/shm").glob(f"{shared}*"):
            region.unlink(missing_ok=True)


def wait_until_ready(server: TritonServer) -> None:
    """Return when all models are loaded. Raises BackendError."""
    limit = time.monotonic() + READY
    while time.monotonic() < limit and server.process.poll() is None:
        with contextlib.suppress(OSError):
            if ask(server.http, "/v2/health/ready") is not None:
                return
        time.sleep(0.3)
    raise BackendError(f"Triton did not get ready:\n{server.log.read_text(errors='replace')[-6000:]}")
