"""Images on a pipe: one of any format, or JPEG after JPEG; and videos."""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

from sacvit_deploy.errors import ImageError, TooLargeError
from sacvit_deploy.images.decode import decoding, image_error
from sacvit_deploy.images.reading import PATIENCE, STEP, check_bytes, pipe_chunks
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources.content import HEAD, is_video_head
from sacvit_deploy.sources.frames import Frame, Kind, Note, failed, frame_name
from sacvit_deploy.sources.jpegs import START, JpegSplitter
from sacvit_deploy.sources.video import Recording

STDIN = "-"


@dataclass(frozen=True)
class Pipe:
    """A FIFO, or standard input as `-`, which may be a file as well.

    The first image has the pipe's own name, those after it `-#frame 1` and so on. Nothing may come for PATIENCE seconds
    before the first image and within one; between two, the writer may take as long as it likes. Of a video nobody
    knows where a frame ends, so nothing may be missing for so long anywhere in it. every: gives image 0, `every`,
    2 `every` and so on alone, and the error of one that breaks off at the pipe's end.
    """

    name: str
    kind: Kind = Kind.PIPE
    every: int = 1

    def frames(self, note: Note) -> Iterator[Frame]:
        """Yield the images as they come; the last one is an error where the pipe breaks off."""
        splitter = JpegSplitter(albums=True)
        number = 0
        try:
            with self._opened() as descriptor:
                chunks = _chunks(descriptor, self.name, splitter)
                head = b""
                while len(head) < HEAD and (chunk := next(chunks, b"")):
                    head += chunk
                if is_video_head(head):
                    yield from Recording(self.name, _Joined(head, chunks), every=self.every).frames(note)
                    return
                if not head.startswith(START):
                    yield self._frame(0, _joined(head, chunks, self.name))
                    return
                start = perf_counter()
                while head:
                    for data in splitter.feed(head):
                        if number % self.every == 0:
                            yield self._frame(number, data, perf_counter() - start)
                        number += 1
                    head = next(chunks, b"")
                if rest := splitter.rest():
                    if number % self.every == 0:
                        yield self._frame(number, rest, perf_counter() - start)
                    else:
                        # Not asked for, but where a pipe breaks off is told, as of a video. Only its decoder knows
                        # whether it does: an album, which ends with the pipe, is whole as a rule. Too large is none.
                        with contextlib.suppress(TooLargeError), decoding(rest, frame_name(self.name, number)):
                            pass
        except Exception as error:
            name = frame_name(self.name, number) if number else self.name
            reason = error.strerror if isinstance(error, OSError) and error.strerror else None
            yield failed(name, ImageError(f"can't read {name}: {reason}") if reason else image_error(name, error))

    def _frame(self, number: int, data: bytes, time: float = 0.0) -> Frame:
        name = frame_name(self.name, number) if number else self.name
        return Frame(name, Claimed(name, data), self.name, number, round(time, 3))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the pipe without waiting for its writer; standard input is open already."""
        if self.name == STDIN:
            descriptor = sys.stdin.fileno() if sys.stdin else -1
            if os.isatty(descriptor):
                raise ImageError("- is standard input, which is the terminal here; pipe an image or JPEGs into it")
            yield descriptor
            return
        descriptor = os.open(self.name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class _Joined:
    """An open file over chunks, for a container's reader; it can't be rewound."""

    def __init__(self, head: bytes, chunks: Iterator[bytes]) -> None:
        self._left, self._chunks = head, chunks

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        data = self._left or next(self._chunks, b"")
        self._left = data[size:]
        return data[:size]


def _chunks(descriptor: int, name: str, splitter: JpegSplitter) -> Iterator[bytes]:
    """Yield a pipe's bytes, or a file's; `splitter` tells whether an image has begun."""
    if not hasattr(select, "poll") or not stat.S_ISFIFO(os.fstat(descriptor).st_mode):  # Windows has none
        return iter(lambda: os.read(descriptor, STEP), b"")

    def patience() -> float | None:
        return None if splitter.count and not splitter.inside else PATIENCE

    return pipe_chunks(descriptor, name, patience)


def _joined(head: bytes, chunks: Iterator[bytes], name: str) -> bytes:
    """Return all that comes. Raises ImageError above the limit of an image file."""
    parts, total = [head], len(head)
    for chunk in chunks:
        parts.append(chunk)
        total += len(chunk)
        check_bytes(total, name)
    return b"".join(parts)
