"""Plans on a GPU: deserialised once, and lent to streams."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.claims import Claim, check_claim
from sacvit_deploy.backends.tensorrt.compat import KernelCache, find_fault, find_kernel_file
from sacvit_deploy.backends.tensorrt.engine import PlanEngine
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.backends.tensorrt.tensors import read_profiles, read_tensors
from sacvit_deploy.bundle.held import EngineFile, Held, hold_all
from sacvit_deploy.device.cuda import CudaMemory
from sacvit_deploy.device.protocol import Memory, Stream
from sacvit_deploy.errors import BackendError


class TensorRTDevice:
    """A variant's plans behind the protocol `Device`. claims: what their record says of them, by path.

    number: the GPU's. Raises BackendError for a plan that can't run here, or is not what its record says.
    """

    engine_sets = 4  # each takes the scratch memory of every engine

    def __init__(
        self,
        library: Library,
        files: Mapping[str, EngineFile],
        claims: Mapping[Path, Claim] | None = None,
        number: int = 0,
    ) -> None:
        self._library, self._files, self._claims = library, hold_all(files), claims or {}
        self._names = {role: file.name for role, file in files.items()}
        memory = CudaMemory(number)
        self.memory: Memory = memory
        self._runtime = library.trt.Runtime(library.logger)
        plans = (file.data.data for file in self._files.values())
        self._kernels = KernelCache(find_kernel_file(library, memory.gpu, plans))
        # When nobody has the device any more, and at the end of the process, before the libraries go.
        weakref.finalize(self, self._kernels.save, memory)
        self._engines: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def max_batch(self) -> int | None:
        """The largest batch that stage 1's profiles allow."""
        role = "ee" if "ee" in self._names else next(iter(self._names))
        profiles = read_profiles(self._open(role))
        return max(next(iter(profile.values()))[2][0] for profile in profiles)

    def engine(self, role: str, stream: Stream) -> PlanEngine:
        """Make a plan's calls for one stream. Raises BackendError."""
        return PlanEngine(self._library, self._open(role), self._names[role], self.memory, stream, self._kernels)

    def _open(self, role: str) -> Any:
        with self._lock:
            if role not in self._engines:
                self._engines[role] = self._deserialise(self._files[role])
                del self._files[role]  # the engine has all of it
            return self._engines[role]

    def _deserialise(self, file: Held) -> Any:
        library, path, plan = self._library, file.path, bytes(file)
        fault = find_fault(library, self._runtime, plan)
        if fault is not None:
            raise BackendError(f"{library.title} can't run {path} here: {fault}; build the plans on this machine")
        library.clear_errors()
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise BackendError(f"{library.title} can't load {path}: {library.last_error()}")
        if path in self._claims:
            check_claim(self._claims[path], path, *read_tensors(engine), read_profiles(engine))
        return engine
