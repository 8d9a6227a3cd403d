"""The errors a user meets. Each message is one sentence: what is wrong, where, what to do."""

from __future__ import annotations


class SacvitError(Exception):
    """Base of all errors raised on purpose; a command prints it as one line and exits with 1."""


class ImageError(SacvitError):
    """A picture that can't be decoded or is refused."""


class BundleError(SacvitError):
    """A bundle that is missing, incomplete, changed, or of another schema."""


class CheckpointError(SacvitError):
    """A checkpoint that can't be read, is unsafe, or is no model this project knows."""


class ExportError(SacvitError):
    """An export that can't be finished, parity failures included."""


class BackendError(SacvitError):
    """A backend that is missing, can't be loaded, or did not give what was asked for."""


class OutputError(SacvitError):
    """An engine whose outputs can't be an answer (NaN or infinite logits)."""


class UsageError(SacvitError, ValueError):
    """An argument out of its range; a command exits with 2."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """Return the first line of a library's exception, up to `limit` characters, or the exception's name if it has none.

    A library's message may run over many lines; an error of this project is one sentence.
    """
    lines = str(error).strip().splitlines()
    return lines[0][:limit] if lines else type(error).__name__
