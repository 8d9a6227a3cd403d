"""ONNX Runtime as a device: sessions bound to tensors that stay where they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacvit_deploy.backends.onnxruntime.bound import BoundSession
from sacvit_deploy.backends.onnxruntime.capture import CapturedSession
from sacvit_deploy.backends.onnxruntime.plugins import WEBGPU
from sacvit_deploy.backends.onnxruntime.session import CUDA, SessionFactory
from sacvit_deploy.bundle.held import EngineFile, hold_all
from sacvit_deploy.contract import STAGES
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceEngine, Memory, Stream


class OnnxRuntimeDevice:
    """A variant's engines as sessions, behind the protocol `Device`: on CUDA, on WebGPU, or on the CPU for tests.

    Each session has its own copy of the weights, so there is one engine set. The files stay in memory: after a failure
    the engines are opened anew, in another engine set. number: the GPU's. capture: let the stages' engines be recorded
    and replayed, on WebGPU, or all engines, on CUDA. device_memory: MB that each session may take of a CUDA GPU.
    """

    max_batch = None
    engine_sets = 1

    def __init__(
        self,
        sessions: SessionFactory,
        files: Mapping[str, EngineFile],
        number: int = 0,
        capture: bool = False,
        device_memory: int | None = None,
    ) -> None:
        self._sessions, self._files = sessions, hold_all(files)
        self._number, self._capture, self._device_memory = number, capture, device_memory
        self.memory: Memory = self._memory()

    def _memory(self) -> Memory:
        if self._sessions.provider == CUDA:
            from sacvit_deploy.device.cuda import CudaMemory

            return CudaMemory(self._number)
        if self._sessions.provider == WEBGPU:
            from sacvit_deploy.backends.onnxruntime.values import ValueMemory

            return ValueMemory(self._sessions, "webgpu")
        return HostMemory()

    def engine(self, role: str, stream: Stream) -> DeviceEngine:
        """Open the session of a role; all its work goes into `stream`. Raises BackendError."""
        on_cuda = self._sessions.provider == CUDA
        options = cuda_options(int(stream), self._number, self._device_memory) if on_cuda else {}
        location, guard = "cuda" if on_cuda else "cpu", self._sessions.guard
        plain = BoundSession(self._open(role, options), self._files[role].name, location, self._number, guard)
        if self._capture and on_cuda:
            from sacvit_deploy.backends.onnxruntime.graphs import RepeatingSession

            return RepeatingSession(plain, plain.name, self.memory, stream)
        if not (self._capture and self._sessions.provider == WEBGPU and role in STAGES):
            return plain
        return CapturedSession(
            plain, lambda sizes: self._open(role, {"enableGraphCapture": "1"}, sizes), self.memory, guard
        )

    def _open(self, role: str, options: Mapping[str, str], fixed: Mapping[str, int] | None = None) -> Any:
        return self._sessions.open(self._files[role], self._files.get("weights"), options, fixed)


def cuda_options(stream: int, number: int, device_memory: int | None) -> dict[str, str]:
    """Return the CUDA provider's options of a session in a stream of the GPU of that number.

    device_memory: MB that it may take, weights and what is between its nodes; then it takes no more than it needs.
    """
    options = {"user_compute_stream": str(stream), "device_id": str(number)}
    if device_memory is not None:
        options |= {"gpu_mem_limit": str(device_memory << 20), "arena_extend_strategy": "kSameAsRequested"}
    return options
