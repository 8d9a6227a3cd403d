"""TensorRT-RTX, imported when first asked for, and what it says while it works."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from sacvit_deploy.errors import BackendError

INSTALL = "install it with: pip install 'sacvit-deploy[tensorrt-rtx]'"


@dataclass(frozen=True)
class Library:
    """The module, the logger it was given, and the errors logged since `forget`."""

    trt: Any
    logger: Any
    errors: list[str]

    def forget(self) -> None:
        """Start a new account of errors."""
        self.errors.clear()


@functools.cache
def load_library() -> Library:
    """Import TensorRT-RTX. Raises BackendError with the install command.

    Once a process: the library keeps the first logger it sees and sends some messages only there.
    """
    try:
        import tensorrt_rtx as trt
    except (ImportError, OSError) as error:  # OSError: its shared libraries can't be loaded
        raise BackendError(f"TensorRT-RTX can't be loaded ({error}); {INSTALL}") from error
    errors: list[str] = []
    loud = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Keeping(trt.ILogger):  # type: ignore[misc]
        """Keeps errors for the exception that follows them, and keeps them off the terminal."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            """Called by the library."""
            if severity in loud:
                errors.append(message)

    return Library(trt, Keeping(), errors)
