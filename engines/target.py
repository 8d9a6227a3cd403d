"""The GPU that plans are built for."""

from __future__ import annotations

from sacvit_deploy.backends.tensorrt.compat import is_rtx
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.bundle.plans import BuildTarget
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.errors import BackendError, UsageError


def find_target(library: Library, capabilities: str | None) -> tuple[BuildTarget, bool]:
    """For which GPUs to build, and whether one of them is here. Raises UsageError, BackendError."""
    if capabilities is not None and not is_rtx(library):
        raise UsageError("TensorRT builds for the GPU it finds; only --runtime tensorrt-rtx takes --compute-capability")
    try:
        gpu = find_gpu()
    except BackendError as error:
        if capabilities is None:
            hint = "; name GPUs with --compute-capability to build without one" if is_rtx(library) else ""
            raise BackendError(f"there is no GPU to build for: {error}{hint}") from error
        gpu = None
    named = None if capabilities is None else tuple(_capability(part) for part in capabilities.split(","))
    if named is None:
        assert gpu is not None
        named = (gpu.compute_capability,)
    here = gpu is not None and gpu.compute_capability in named
    device = None if gpu is None or is_rtx(library) else gpu.name
    driver = gpu.driver if here and gpu is not None else None
    return BuildTarget(library.runtime, library.version, device, named, driver), here


def _capability(text: str) -> str:
    """`86` -> "8.6"."""
    text = text.strip()
    return f"{text[:-1]}.{text[-1]}" if text.isdigit() and len(text) > 1 else text
