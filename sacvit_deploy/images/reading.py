"""The bytes of an image file: regular files read once, pipes with patience, anything else refused."""

from __future__ import annotations

import io
import os
import select
import stat
from collections.abc import Callable, Iterator
from typing import Protocol, TypeGuard

from sacvit_deploy.errors import ImageError, first_line
from sacvit_deploy.regular import KINDS, open_regular

MAX_BYTES = 256 << 20
STEP = 1 << 20  # bytes asked for at a time where the size is not known; a read sets aside all that it asks for
PATIENCE = 10.0  # seconds that a pipe may send nothing


def file_size(path: str | None) -> int:
    """Return a file's size in bytes; 0 for what has none or can't be found."""
    try:
        return 0 if path is None else os.stat(path).st_size
    except (OSError, ValueError):
        return 0


def is_pipe(path: str | os.PathLike[str]) -> bool:
    """Whether a path leads to a FIFO, or to standard input that is one; what can't be found is none."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_image(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> bytes:
    """Return the bytes of an image file. Raises ImageError."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    path = os.fsdecode(source)
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
        if kind == stat.S_IFIFO and hasattr(select, "poll"):  # Windows has none
            return _read_pipe(path)
        if kind != stat.S_IFREG:
            # Opening a device may do something to it already.
            raise ImageError(f"can't read {path}: it is {KINDS.get(kind, 'no regular file')}, not a file")
        return _read_file(path)
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist") from error
    except OSError as error:
        raise ImageError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise ImageError(f"can't read {path!r}: {error}") from error


def _read_file(path: str) -> bytes:
    """Read a regular file as far as it goes, whatever size it had at first. Raises ImageError, OSError."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        check_bytes(size, path)
        chunks: list[bytes] = []
        total = 0
        while chunk := file.read(size - total + 1 if total <= size and size else STEP):
            chunks.append(chunk)
            total += len(chunk)
            check_bytes(total, path)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _read_pipe(path: str) -> bytes:
    """Read a FIFO, or standard input, until its writers have closed it. Raises ImageError, OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        chunks: list[bytes] = []
        total = 0
        for chunk in pipe_chunks(descriptor, path, lambda: PATIENCE):
            chunks.append(chunk)
            total += len(chunk)
            check_bytes(total, path)
        return b"".join(chunks)
    finally:
        os.close(descriptor)


def pipe_chunks(descriptor: int, name: str, patience: Callable[[], float | None]) -> Iterator[bytes]:
    """Yield what comes through a pipe until its writers have closed it.

    patience: gives the seconds that the next bytes may take; None waits for ever. Raises ImageError, OSError.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        limit = patience()
        if not poll.poll(None if limit is None else 1000 * limit):
            raise ImageError(f"{name} is a pipe that sent nothing for {limit:g} s; start its writer first")
        try:
            chunk = os.read(descriptor, STEP)
        except BlockingIOError:  # another reader was faster
            continue
        if not chunk:
            return
        yield chunk


class OpenFile(Protocol):
    """File that is open for reading bytes, `io.BytesIO` for example."""

    def read(self, size: int, /) -> bytes: ...


def is_open_file(source: object) -> TypeGuard[OpenFile]:
    """Whether a source is read by its own `read`."""
    return callable(getattr(source, "read", None))


def read_open(file: OpenFile, name: str) -> bytes:
    """Read an open file from where it stands to its end, once. name: for errors. Raises ImageError."""
    if isinstance(file, io.TextIOBase):
        raise ImageError(f"can't read {name}: it is open for text; open it for bytes, with mode 'rb'")
    chunks: list[bytes] = []
    total = 0
    while True:
        try:
            chunk = file.read(STEP)
        except ImageError:  # of a source of ours
            raise
        except Exception as error:  # closed, or whatever stands behind it
            raise ImageError(f"can't read {name}: {first_line(error)}") from error
        if not isinstance(chunk, bytes):
            raise ImageError(f"can't read {name}: it gave a {type(chunk).__name__}, not bytes; read it yourself")
        if not chunk:
            break
        chunks.append(chunk)
        total += len(chunk)
        check_bytes(total, name)
    if not chunks:
        raise ImageError(f"{name} gave no bytes; where it stands at its end, seek(0) comes first")
    return b"".join(chunks)


def check_bytes(count: int, path: str) -> None:
    """Raise ImageError for more bytes than an image file may have."""
    if count > MAX_BYTES:
        raise ImageError(f"{path} is larger than {MAX_BYTES >> 20} MB, the limit for an image file")
