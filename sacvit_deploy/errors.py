"""Errors for users. Each message is one sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import io
import sys
from typing import Any


class SacvitError(Exception):
    """Base of all deliberate errors; a command prints one line and exits with 1.

    position: of an error in the place of an image's answer, the image's number in its source, from 0.
    """

    position: int | None = None


class ImageError(SacvitError):
    """Image that can't be decoded or is refused."""


class TooLargeError(ImageError):
    """Image with more pixels, or that takes more memory, than the limit."""


class BundleError(SacvitError):
    """Bundle that is missing, incomplete, changed, or of another schema."""


class CheckpointError(SacvitError):
    """Checkpoint that can't be read, is unsafe, or holds an unknown model."""


class LabelError(SacvitError):
    """Class names that can't be read, or do not fit the classes."""


class ExportError(SacvitError):
    """Export that can't be completed, parity failures included."""


class BackendError(SacvitError):
    """Backend that is missing, can't be loaded, or can't do what was requested."""


class OutputError(SacvitError):
    """Engine outputs that are no answer: NaN or infinite logits."""


class RequestError(SacvitError):
    """Request to stage 2 that is damaged or of another bundle, or that a server refuses."""


class RemoteError(SacvitError):
    """Stage 2 on another machine that can't be reached, is too busy, or gives no answer."""


class UsageError(SacvitError, ValueError):
    """Argument out of range; a command exits with 2."""


def import_library(module: str, title: str, install: str) -> Any:
    """Import an optional library. Raises BackendError with the command that installs it."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            library = importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: its shared libraries can't be loaded
        # NumPy 2 writes a page, with tracebacks, about a library built for NumPy 1, whose own error then says nothing.
        if "compiled using NumPy 1" in said.getvalue():
            numpy = importlib.metadata.version("numpy")
            raise BackendError(
                f"this {title} was built for NumPy 1 and can't be loaded beside NumPy {numpy}; install a newer "
                f"{title}, or: pip install 'numpy<2'"
            ) from error
        raise BackendError(
            f"{title} can't be loaded ({str(error) or type(error).__name__}); install it with: {install}"
        ) from error
    sys.stderr.write(said.getvalue())
    return library


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of a library's exception, up to `limit` characters, or the name of its class."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception whose text can't be had must not hide what it stands for
        lines = []
    return lines[0][:limit] if lines else type(error).__name__
