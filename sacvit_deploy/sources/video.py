"""Videos as frames: RGB arrays, upright, with their number and time."""

from __future__ import annotations

import contextlib
import errno
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BackendError, ImageError
from sacvit_deploy.images.budget import MAX_PIXELS
from sacvit_deploy.images.decode import image_error
from sacvit_deploy.images.reading import OpenFile
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources.av_library import LOCAL_FORMATS, av_reason, load_av
from sacvit_deploy.sources.frames import Frame, Kind, Note, failed, frame_name

SHORT = 1.0  # seconds that a video may end before its container says
WAIT = 10.0  # seconds that a server may send nothing
Timed: TypeAlias = tuple[Pixels | None, float]  # a frame [H,W,3], None for one not wanted; its seconds


@dataclass(frozen=True)
class Recording:
    """A video from its first frame to its last: a file, an address of http or https, or an open file.

    Where it is damaged, an error takes the place of the first frame that can't be had, and it ends there. every: gives
    frame 0, `every`, 2 `every` and so on alone.
    """

    name: str
    file: str | OpenFile
    kind: Kind = Kind.VIDEO
    every: int = 1

    def frames(self, note: Note) -> Iterator[Frame]:
        number = 0
        try:
            with open_video(self.file, self.name) as container:
                for pixels, time in decode(container, self.name, wanted=lambda taken: taken % self.every == 0):
                    if pixels is not None:
                        name = frame_name(self.name, number)
                        yield Frame(name, Claimed(name, pixels), self.name, number, time)
                    number += 1
        except Exception as error:
            yield failed(frame_name(self.name, number) if number else self.name, image_error(self.name, error))


def is_address(file: object) -> bool:
    """Whether a video is read from a web server."""
    return isinstance(file, str) and file.startswith(("http://", "https://"))


def web_options() -> dict[str, str]:
    """Return FFmpeg's options for addresses of http and https: no other protocols, no servers without a certificate."""
    options = {"protocol_whitelist": "http,https,tcp,tls,crypto,httpproxy", "rw_timeout": f"{int(1e6 * WAIT)}"}
    authorities = ssl.get_default_verify_paths().cafile
    return {**options, "tls_verify": "1", **({"ca_file": authorities} if authorities else {})}


@contextlib.contextmanager
def open_video(file: str | OpenFile, name: str, **options: Any) -> Iterator[Any]:
    """Open a container for reading; options: PyAV's own. Raises ImageError, BackendError."""
    try:
        av = load_av()
    except BackendError as error:
        raise BackendError(f"can't read {name}: {error}") from error
    if not options and is_address(file):
        options = {"options": web_options(), "timeout": WAIT}
    elif not options:
        # With a scheme, no name of a file is taken for a protocol of FFmpeg's, such as `concat:`.
        file = f"file:{file}" if isinstance(file, str) else file
        options = {"options": {"format_whitelist": LOCAL_FORMATS, "protocol_whitelist": "file"}}
    try:
        container = av.open(file, metadata_errors="replace", **options)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        damaged = isinstance(error, av.error.InvalidDataError) or getattr(error, "errno", None) == errno.EINVAL
        reason = "it is damaged, cut short or of another kind" if damaged else av_reason(error)
        if isinstance(file, str) and file.startswith("https:") and "Input/output" in reason:  # all that FFmpeg says
            reason = "no connection by TLS; is the server's certificate trusted? $SSL_CERT_FILE names whom to trust"
        raise ImageError(f"can't open {name}: {reason}") from error
    with container:
        if not container.streams.video:
            raise ImageError(f"{name} has no video in it")
        yield container


def decode(container: Any, name: str, *, wanted: Callable[[int], bool], live: bool = False) -> Iterator[Timed]:
    """Yield the frames of a container's first video.

    wanted: whether to convert a frame to pixels, by its number, from 0. live: damaged packets, which networks lose
    parts of, are skipped, and no frame waits for the next one. Raises ImageError where it breaks off, after all frames
    before; also for a frame that can't be converted.
    """
    av = load_av()
    stream = container.streams.video[0]
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    stream.thread_type = "SLICE" if live else "AUTO"  # AUTO decodes several frames at a time
    stream.codec_context.thread_count = usable_cores()
    progress = _Progress(stream)
    try:
        for frame in _decoded(container, stream, progress, live):
            yield progress.taken(frame, wanted)
    except (av.error.FFmpegError, ImageError) as error:
        reason = av_reason(error)
        raise ImageError(f"{name} breaks off after {progress.count} frames: {reason}") from error
    if not live and (missing := progress.missing()):
        raise ImageError(f"{name} breaks off after {progress.count} frames: {missing}")


def _decoded(container: Any, stream: Any, progress: _Progress, live: bool) -> Iterator[Any]:
    """Yield frames as PyAV's; before the error of a damaged packet those that the decoder still holds."""
    av = load_av()
    try:
        for packet in container.demux(stream):
            progress.packets += packet.size > 0
            try:
                if packet.is_corrupt and not live:
                    raise ImageError("part of it is missing")
                frames = packet.decode()
            except (av.error.FFmpegError, ImageError):
                if not live:
                    raise
                continue
            for frame in frames:
                if frame.is_corrupt and not live:
                    raise ImageError("the next one is damaged")
                yield frame
    except (av.error.FFmpegError, ImageError):
        yield from _held(stream)
        raise


class _Progress:
    """How far a video has been read, held against what its container says of its length."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.packets = self.count = 0
        self._last = 0.0
        self._first: float | None = None

    def taken(self, frame: Any, wanted: Callable[[int], bool]) -> Timed:
        """Count a frame, and return it upright with its time. Raises FFmpegError, and does not count it then."""
        pixels = upright(frame.to_ndarray(format="rgb24"), frame.rotation) if wanted(self.count) else None
        self.count += 1
        if frame.pts is not None:
            time = float(frame.pts * self._stream.time_base)
            self._first = time if self._first is None else self._first
            self._last = time - self._first
        return pixels, round(self._last, 6)

    def missing(self) -> str | None:
        """Say what is missing at the end, if anything: files may end in the middle without an error."""
        if self.count == 0:
            return "it has no frames"
        announced = self._stream.frames
        if announced and self.packets < announced:
            return f"{announced} were announced"
        seconds = _announced(self._stream)
        if not announced and seconds and self._last < seconds - SHORT:
            return f"{seconds:.1f} s were announced, {self._last:.1f} s came"
        return None


def _announced(stream: Any) -> float | None:
    """Return a video's seconds by its own track, which may be shorter than the sound; None where that isn't said."""
    text = stream.metadata.get("DURATION", "")  # Matroska's: 00:00:02.040000000
    parts = text.split(":")
    with contextlib.suppress(ValueError):
        if len(parts) == 3:
            return 3600 * int(parts[0]) + 60 * int(parts[1]) + float(parts[2])
    return None


def _held(stream: Any) -> list[Any]:
    """Return the frames that a decoder still holds, if it gives them."""
    try:
        return list(stream.codec_context.decode(None))
    except Exception:  # it met the damage itself
        return []


def upright(pixels: Pixels, rotation: int) -> Pixels:
    """Turn a frame [H,W,3] by its display matrix's degrees, counterclockwise; of those only quarter turns are meant."""
    turns = round(rotation / 90) % 4 if rotation % 90 == 0 else 0
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels
