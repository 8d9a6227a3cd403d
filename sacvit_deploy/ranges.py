"""NVTX ranges around the steps of an image, for Nsight and other profilers, where $SACVIT_NVTX asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from sacvit_deploy.errors import BackendError, import_library

VARIABLE, DOMAIN = "SACVIT_NVTX", "sacvit"
F = TypeVar("F", bound=Callable[..., Any])


def in_range(name: str) -> Callable[[F], F]:
    """Return a decorator that makes every call of a function a range of that name, on the thread that calls it.

    Without $SACVIT_NVTX, or a profiler, it returns the function itself, so that calls cost nothing more.
    """
    if not ranges_wanted():
        return _as_it_is
    try:
        library = load_library()
    except BackendError:  # which `check_ranges` raises where it can be told
        return _as_it_is
    decorator: Callable[[F], F] = library.annotate(message=name, domain=DOMAIN)
    return decorator


def _as_it_is(function: F) -> F:
    return function


def ranges_wanted() -> bool:
    """Tell whether $SACVIT_NVTX asks for ranges; it is read when the package is imported."""
    return os.environ.get(VARIABLE, "") not in ("", "0")


def check_ranges() -> None:
    """Raise BackendError where ranges are wanted and NVIDIA's library for them is missing."""
    if ranges_wanted():
        load_library()


def load_library() -> Any:
    """Import nvtx. Raises BackendError with the install command."""
    return import_library("nvtx", f"NVTX, which {VARIABLE} asks for,", "pip install 'sacvit-deploy[nvtx]'")
