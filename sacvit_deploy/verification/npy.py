"""Arrays out of anybody's .npz: shape and type are compared with what is expected before any memory is taken.

A zip of a few kilobytes may say that it unfolds to terabytes, and numpy believes it.
"""

from __future__ import annotations

import io
import re
import zipfile
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from sacvit_deploy.arrays import Array

START = b"\x93NUMPY\x01\x00"
HEADER_LIMIT = 4096  # bytes; numpy writes 128
# numpy's own reader takes any Python literal, and what that may cost.
_HEADER = re.compile(
    rb"\{'descr': '([<|][fiuU][0-9]{1,4})', 'fortran_order': False, "
    rb"'shape': \(((?:[0-9]{1,19}, ?)*[0-9]{0,19})\), \} *\n"
)
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """What an array's header says of it."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of the array, as exact as Python's integers are."""
        count = self.dtype.itemsize
        for size in self.shape:
            count *= size
        return count


class Archive:
    """Arrays in a .npz by name, none of them read yet; all that are read may have `budget` bytes together.

    Raises ValueError, OSError and what zipfile raises.
    """

    def __init__(self, raw: bytes, budget: int) -> None:
        self._zip, self._left = zipfile.ZipFile(io.BytesIO(raw)), budget
        names = self._zip.namelist()
        if len(set(names)) < len(names):
            raise ValueError("it holds two files of one name")
        # LZMA takes as much memory as the file asks for.
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in self._zip.filelist):
            raise ValueError("it is compressed in a way that numpy does not write")

    def header(self, name: str) -> Header:
        """Return the header of an array. Raises KeyError where there is none, ValueError where it is none of ours."""
        with self._open(name) as file:
            return _read_header(file, name)

    def read(self, name: str, shape: Shape, kind: str | np.dtype[Any]) -> Array:
        """Return an array that must have this shape and type. Raises KeyError, ValueError."""
        with self._open(name) as file:
            header = _read_header(file, name)
            if header.shape != shape or header.dtype != np.dtype(kind):
                raise ValueError(f"`{name}` is {header.dtype} {list(header.shape)}, not {kind} {list(shape)}")
            if header.nbytes > self._left:
                raise ValueError(f"with `{name}` it unfolds to more than it may")
            self._left -= header.nbytes
            raw = file.read(header.nbytes + 1)
            if len(raw) != header.nbytes:
                raise ValueError(f"`{name}` has another length than its header says")
        array: Array = np.frombuffer(raw, header.dtype).reshape(header.shape).copy()
        return array

    def _open(self, name: str) -> IO[bytes]:
        return self._zip.open(f"{name}.npy")


def _read_header(file: IO[bytes], name: str) -> Header:
    """Read the header of a .npy file, in the one form that numpy writes for plain arrays on today's machines."""
    start = file.read(len(START) + 2)
    length = int.from_bytes(start[len(START) :], "little")
    found = _HEADER.fullmatch(file.read(length)) if start.startswith(START) and length <= HEADER_LIMIT else None
    if found is None:
        raise ValueError(f"`{name}` is no plain array")
    return Header(tuple(int(size) for size in found[2].split(b",") if size.strip()), np.dtype(found[1].decode()))
