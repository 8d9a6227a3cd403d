"""Reading regular files alone: a FIFO would hang for want of a writer, a device need never end."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
# Opening a FIFO must not wait for its writer, opening a terminal must not adopt it. Windows has neither.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> BinaryIO:
    """Open a file for reading bytes, unbuffered. dir_fd: descriptor of the folder that a relative path starts from.

    Raises OSError, also for what is no regular file; its `strerror` then says what it is.
    """
    descriptor = os.open(path, _FLAGS, dir_fd=dir_fd)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = KINDS.get(stat.S_IFMT(mode), "no regular file")
            raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, f"it is {kind}, not a file", str(path))
        return os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], limit: int, *, dir_fd: int | None = None) -> bytes:
    """Return a file's bytes, of which there may be `limit`. Raises OSError, as `open_regular` and for a larger file."""
    with open_regular(path, dir_fd=dir_fd) as file:
        size = os.fstat(file.fileno()).st_size
        chunks, left = [], limit + 1  # one byte more, as a file may grow or, in /proc, have no size
        while size <= limit and left and (chunk := file.read(left)):
            chunks.append(chunk)
            left -= len(chunk)
    if size > limit or not left:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return b"".join(chunks)
