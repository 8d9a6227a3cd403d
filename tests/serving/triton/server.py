"""A real Triton server: the binary of the wheel nvidia-pytriton, with its Python backend."""

from __future__ import annotations

import contextlib
import os
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
from typing import Any

import pytest

READY = 180  # seconds; the limit of a loaded machine


@dataclass(frozen=True)
class TritonServer:
    """A running server: its addresses, process and log."""

    http: str
    grpc: str
    process: subprocess.Popen[bytes]
    log: Path

    def stubs(self, model: str) -> list[int]:
        """Return the ids of the processes in which the Python backend runs a model's instances."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = os.getpgid(int(entry.name)) == self.process.pid
                if ours and b"triton_python_backend_stub" in words[0] and f"/{model}/1/".encode() in b" ".join(words):
                    found.append(int(entry.name))
        return found


def wheel_folder() -> Path:
    """Return the folder of the server in pytriton's wheel."""
    spec = find_spec("pytriton")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "tritonserver"


@contextlib.contextmanager
def serving(repository: Path, folder: Path, ports: tuple[int, int]) -> Iterator[TritonServer]:
    """Serve a repository on 127.0.0.1 until the block ends. folder: for the server's own files."""
    import tritonclient.http as client

    wheel, log = wheel_folder(), folder / "triton.log"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(wheel / "backends", folder / "backends")
    shutil.copy(wheel / "python_backend_stubs" / version / "triton_python_backend_stub", folder / "backends/python")
    libraries = [sysconfig.get_config_var("LIBDIR"), str(wheel.parents[1] / "nvidia_pytriton.libs")]
    # The stub runs the first python3 of the path, isolated: it sees what is installed, not PYTHONPATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
    shared = f"sacvit-test-{ports[0]}"  # of its models' memory, which a server that is killed leaves behind
    command = [
        str(wheel / "bin/tritonserver"), f"--model-repository={repository}", f"--backend-directory={folder}/backends",
        "--http-address=127.0.0.1", f"--http-port={ports[0]}", "--grpc-address=127.0.0.1", f"--grpc-port={ports[1]}",
        "--allow-metrics=false", "--exit-timeout-secs=10",
        f"--backend-config=python,shm-region-prefix-name={shared}",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    server = TritonServer(*(f"127.0.0.1:{port}" for port in ports), process, log)
    try:
        wait_until_ready(client.InferenceServerClient(server.http), server)
        yield server
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):  # stubs that outlived it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
        for region in Path("/dev/shm").glob(f"{shared}*"):
            region.unlink(missing_ok=True)


def wait_until_ready(client: Any, server: TritonServer) -> None:
    """Return when all models are loaded; fail with the log's end where that never happens."""
    limit = time.monotonic() + READY
    while time.monotonic() < limit and server.process.poll() is None:
        with contextlib.suppress(OSError):
            if client.is_server_ready():
                return
        time.sleep(0.3)
    pytest.fail(f"Triton did not get ready:\n{server.log.read_text(errors='replace')[-6000:]}")
