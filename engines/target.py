"""Choice of the GPU to build plans for."""

from __future__ import annotations

from sacvit_deploy.backends.tensorrt.compat import is_rtx
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.bundle.plans import BuildTarget
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.errors import BackendError, UsageError


def find_target(library: Library, capabilities: str | None) -> tuple[BuildTarget, bool]:
    """Return the GPUs to build for, and whether this machine has one of them.

    capabilities: compute capabilities separated by commas, for TensorRT-RTX; None means this machine's GPU. Raises
    UsageError where the library can't compile for other GPUs, BackendError where there is no GPU to build for.
    """
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
    """Write a compute capability with a dot: `86` becomes `8.6`."""
    text = text.strip()
    return f"{text[:-1]}.{text[-1]}" if text.isdigit() and len(text) > 1 else text
