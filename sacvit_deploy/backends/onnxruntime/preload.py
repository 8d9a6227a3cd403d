"""CUDA's and cuDNN's libraries, loaded from their wheels before ONNX Runtime looks for them where the system would."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from typing import Any

NVIDIA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")  # providers that need them
_lock = threading.Lock()


def preload_cuda(library: Any) -> None:
    """Let ONNX Runtime load them, once in a process; what it says of those it can't find goes to stderr."""
    with _lock:  # `redirect_stdout` is for one thread at a time
        _preload(library)


@functools.cache
def _preload(library: Any) -> None:
    preload = getattr(library, "preload_dlls", None)  # since 1.21
    if preload is not None:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for answers, such as JSON
            preload()
