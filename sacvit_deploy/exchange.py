"""Exchanging two paths in one step, so that neither name is ever without its file or folder."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2
# Of renameat2, for C libraries that don't have it by name.
NUMBERS = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "armv7l": 382, "i686": 353, "ppc64le": 357, "s390x": 347}
# An old kernel, a file system without it, and sandboxes that know no such call.
UNABLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths of one file system; False, with nothing done, where the system can't. Raises OSError."""
    call = _renameat2()
    if call is None:
        return False
    if call(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    number = ctypes.get_errno()
    if number in UNABLE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _renameat2() -> Callable[[bytes, bytes], int] | None:
    """Return Linux's renameat2 for exchanging; None on other systems."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if hasattr(library, "renameat2"):
        return lambda one, other: library.renameat2(AT_FDCWD, one, AT_FDCWD, other, ctypes.c_uint(RENAME_EXCHANGE))
    number = NUMBERS.get(platform.machine())
    if number is None:
        return None
    flags = ctypes.c_uint(RENAME_EXCHANGE)
    return lambda one, other: library.syscall(ctypes.c_long(number), AT_FDCWD, one, AT_FDCWD, other, flags)
