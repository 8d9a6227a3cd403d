"""Open sessions of ONNX Runtime: on which provider, with how many threads, with which options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.errors import BackendError, first_line, import_library

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SHORT_NAMES = {"cpu": CPU, "cuda": CUDA}


def load_library() -> Any:
    """Import onnxruntime. Raises BackendError with the install command."""
    return import_library("onnxruntime", "ONNX Runtime", "pip install onnxruntime (or onnxruntime-gpu for NVIDIA GPUs)")


@dataclass(frozen=True)
class SessionFactory:
    """Opens sessions on one execution provider, named in full, with `threads` CPU threads a call.

    weights: "packed" lets a session rearrange its weights for speed, "mapped" lets it read them in place.
    """

    threads: int
    provider: str = CPU
    weights: str = "packed"

    def open(self, model: Path | bytes, provider_options: Mapping[str, str] | None = None) -> Any:
        """Open an ONNX file, or a serialised model, on this provider and no other. Raises BackendError."""
        library = load_library()
        options = library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        # Threads that spin while a stage runs make it a third faster at batch 1; spinning on after it, they would take
        # the cores from the other stage's session and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # On x86 without VNNI or AMX it would add up byte products in 16 bits, which full-range weights overflow.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if self.weights == "mapped":
            options.add_session_config_entry("session.disable_prepacking", "1")
        # On by default on CUDA, TF32 computes products of fp32 tensors with ten bits: not what the file says.
        exact = {"use_tf32": "0"} if self.provider == CUDA else {}
        providers = [(self.provider, exact | dict(provider_options or {}))]
        source, name = (model, "a model in memory") if isinstance(model, bytes) else (str(model), str(model))
        try:
            session = library.InferenceSession(source, options, providers=providers)
        except Exception as error:  # the library's own exceptions share no base class but this
            raise BackendError(f"ONNX Runtime can't load {name} ({first_line(error)})") from error
        got = session.get_providers()[0]
        # The library falls back to the CPU without an error when a provider can't be loaded.
        if got != self.provider:
            raise BackendError(f"{self.provider} was asked for, but ONNX Runtime gave {got}; its libraries can't load")
        return session
