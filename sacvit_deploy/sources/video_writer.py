"""Writing a video, frame by frame."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from sacvit_deploy.errors import SacvitError
from sacvit_deploy.files import whole_file
from sacvit_deploy.sources.av_library import av_reason, load_av

SUFFIXES = (".mp4", ".mov", ".mkv")
CODECS = ("libx264", "mpeg4")  # the first that this FFmpeg was built with
CLOCK = Fraction(1, 90_000)  # seconds; every usual frame rate has whole numbers of it
RATE = 25  # frames per second, as far as players ask for one: each frame has its own time


class VideoWriter:
    """Writes frames of one size, with their times, into a file that is there once `close` is called.

    A run that is killed leaves what was there before. Raises SacvitError, BackendError without PyAV.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._av = path, load_av()
        self._ends = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def write(self, image: Image.Image, time: float) -> None:
        """Append an RGB frame, of even width and height. time: seconds from the start."""
        try:
            if self._container is None:
                self._open(image.size)
            frame = self._av.VideoFrame.from_image(image)
            self._last = max(round(time / CLOCK), self._last + 1)
            frame.pts, frame.time_base = self._last, CLOCK
            self._container.mux(self._stream.encode(frame))
        except (OSError, self._av.error.FFmpegError) as error:
            failure = self._failure(error)
            with contextlib.suppress(OSError, SacvitError), self._ends:  # nothing of it is left
                raise failure from error
            raise failure from error

    def close(self) -> None:
        """End the file, and put it in its place."""
        try:
            with self._ends:
                if self._container is not None:
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
        except (OSError, self._av.error.FFmpegError) as error:
            raise self._failure(error) from error

    def _open(self, size: tuple[int, int]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._ends.enter_context(whole_file(self.path))
        codec = next(name for name in CODECS if name in self._av.codecs_available)
        self._container = self._av.open(f"file:{partial}", "w", format=None)
        self._stream = self._container.add_stream(codec, rate=RATE)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = CLOCK

    def _failure(self, error: Exception) -> SacvitError:
        return SacvitError(f"can't write {self.path}: {av_reason(error)}")
