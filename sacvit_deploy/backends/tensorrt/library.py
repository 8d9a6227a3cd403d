"""TensorRT or TensorRT-RTX, imported when first asked for, and the errors it logs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from sacvit_deploy.errors import BackendError, UsageError, import_library


@dataclass(frozen=True)
class Vendor:
    """A library by the names that people, Python and pip know it by."""

    title: str
    module: str
    install: str


RUNTIMES = {
    "tensorrt": Vendor("TensorRT", "tensorrt", "pip install tensorrt (on a Jetson it comes with JetPack)"),
    "tensorrt-rtx": Vendor("TensorRT-RTX", "tensorrt_rtx", "pip install 'sacvit-deploy[tensorrt-rtx]'"),
}


@dataclass(frozen=True)
class Library:
    """The module, the logger it was given, and the errors logged since `clear_errors`."""

    runtime: str
    trt: Any
    logger: Any
    errors: list[str]

    @property
    def title(self) -> str:
        """The name as its maker writes it."""
        return RUNTIMES[self.runtime].title

    @property
    def version(self) -> str:
        """The version, such as `10.3.0`."""
        return str(self.trt.__version__)

    def clear_errors(self) -> None:
        """Forget the errors logged so far."""
        self.errors.clear()

    def last_error(self) -> str:
        """Return what was logged since `clear_errors`, in one line."""
        return " ".join(" ".join(self.errors).split()) or "it does not say why"


@functools.cache
def load_library(runtime: str) -> Library:
    """Import one of RUNTIMES. Raises UsageError for another name, BackendError with the install command.

    Once a process: the library keeps the first logger it sees and sends some messages only there.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"unknown runtime {runtime!r}; there are: {', '.join(RUNTIMES)}")
    vendor = RUNTIMES[runtime]
    trt = import_library(vendor.module, vendor.title, vendor.install)
    errors: list[str] = []
    loud = (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)

    class Keeping(trt.ILogger):  # type: ignore[name-defined,misc]
        """Keeps errors for the exception that follows them, off the terminal."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in loud:
                errors.append(message)

    return Library(runtime, trt, Keeping(), errors)


def first_library() -> Library:
    """Return the installed library, TensorRT before TensorRT-RTX. Raises BackendError if there is none."""
    trouble = []
    for runtime in RUNTIMES:
        try:
            return load_library(runtime)
        except BackendError as error:
            trouble.append(str(error))
    raise BackendError("; ".join(trouble))
