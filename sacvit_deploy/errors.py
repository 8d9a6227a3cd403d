"""Errors for users. Each message is one sentence: what is wrong, where, and what to do."""

from __future__ import annotations

import importlib
from typing import Any


class SacvitError(Exception):
    """Base of all deliberate errors; a command prints one line and exits with 1."""


class ImageError(SacvitError):
    """Image that can't be decoded or is refused."""


class BundleError(SacvitError):
    """Bundle that is missing, incomplete, changed, or of another schema."""


class CheckpointError(SacvitError):
    """Checkpoint that can't be read, is unsafe, or holds an unknown model."""


class ExportError(SacvitError):
    """Export that can't be completed, parity failures included."""


class BackendError(SacvitError):
    """Backend that is missing, can't be loaded, or can't do what was requested."""


class OutputError(SacvitError):
    """Engine outputs that are no answer: NaN or infinite logits."""


class UsageError(SacvitError, ValueError):
    """Argument out of range; a command exits with 2."""


def import_library(module: str, title: str, install: str) -> Any:
    """Import an optional library. Raises BackendError with the command that installs it."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: its shared libraries can't be loaded
        raise BackendError(f"{title} can't be loaded ({error}); install it with: {install}") from error


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of a library's exception, up to `limit` characters, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__
