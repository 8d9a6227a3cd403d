"""Cameras and network streams: frames as they happen, connected again where they break off."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.decode import image_error
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources.addresses import shown_url
from sacvit_deploy.sources.frames import Frame, Kind, Note, failed, frame_name
from sacvit_deploy.sources.jpegs import JpegSplitter
from sacvit_deploy.sources.reconnect import ATTEMPTS, Ended, reconnecting
from sacvit_deploy.sources.video import WAIT, decode, open_video, web_options
from sacvit_deploy.sources.web import STEP, opened, read_all

RTSP_SCHEMES = ("rtsp", "rtsps")
LOW_DELAY = {"flags": "low_delay"}
UNBUFFERED = {**LOW_DELAY, "fflags": "nobuffer"}  # loses the packets that FFmpeg looks at first
# Over TCP, as lost packets of UDP are lost parts of frames.
RTSP = {"rtsp_transport": "tcp", "timeout": f"{int(1e6 * WAIT)}", "protocol_whitelist": "rtsp,rtsps,rtp,tcp,tls,crypto"}
DEVICES = {"Linux": ("v4l2", "/dev/video{}"), "Darwin": ("avfoundation", "{}")}  # FFmpeg's names of cameras
Image: TypeAlias = Pixels | bytes | None  # a frame [H,W,3], or a JPEG's bytes; None for a frame that nobody wants


class _Live:
    """What gives frames by sessions. every: gives frame 0, `every`, 2 `every` and so on alone."""

    attempts: int
    every: int

    @property
    def name(self) -> str:
        raise NotImplementedError

    def session(self, first: int) -> Iterator[Image]:
        """Connect and yield images until it breaks off. first: the number of the next one, through all sessions.

        Frames are converted in here, so that one that can't be breaks the session off, as any other damage does.
        Raises ImageError, Ended, BackendError.
        """
        raise NotImplementedError

    def decoded(self, container: Any, first: int) -> Iterator[Image]:
        """Yield a container's frames, None for those that `every` leaves out. Raises ImageError."""
        for pixels, _ in decode(
            container, self.name, wanted=lambda taken: (first + taken) % self.every == 0, live=True
        ):
            yield pixels

    def frames(self, note: Note) -> Iterator[Frame]:
        """Yield frames, numbered through all sessions, with the seconds since the first one."""
        number, start = 0, 0.0

        def session() -> Iterator[Image]:
            return self.session(number)

        try:
            for image in reconnecting(session, self.name, self.attempts, note):
                if image is not None and number % self.every == 0:
                    now = perf_counter()
                    start = start or now
                    name = frame_name(self.name, number)
                    yield Frame(name, Claimed(name, image), self.name, number, round(now - start, 3), now)
                number += 1
        except Exception as error:
            yield failed(self.name, image_error(self.name, error))


@dataclass(frozen=True)
class Camera(_Live):
    """A camera of this machine. device: its number, or its path."""

    device: str
    attempts: int = ATTEMPTS
    kind: Kind = Kind.LIVE
    every: int = 1

    @property
    def name(self) -> str:
        return f"camera {self.device}" if self.device.isdecimal() else self.device

    def session(self, first: int) -> Iterator[Image]:
        """Open the camera in its own settings."""
        system = platform.system()
        if system not in DEVICES:
            raise ImageError(
                f"cameras are read on {' and '.join(DEVICES)}; here, give an address of the camera's stream"
            )
        kind, path = DEVICES[system]
        path = path.format(self.device) if self.device.isdecimal() else self.device
        with open_video(path, self.name, format=kind, options=UNBUFFERED, timeout=WAIT) as container:
            yield from self.decoded(container, first)


@dataclass(frozen=True)
class Stream(_Live):
    """A stream at an address: RTSP; over http Motion JPEG, which needs no library, and what FFmpeg reads (HLS)."""

    url: str
    attempts: int = ATTEMPTS
    kind: Kind = Kind.LIVE
    every: int = 1

    @property
    def name(self) -> str:
        return shown_url(self.url)

    def session(self, first: int) -> Iterator[Image]:
        """Connect, and tell by the answer what is sent."""
        if urlsplit(self.url).scheme.lower() in RTSP_SCHEMES:
            yield from self._frames({**RTSP, **LOW_DELAY}, first)
            return
        image: bytes | None = None
        with opened(self.url, endless=True) as response:
            kind = response.headers.get_content_type()
            if kind.startswith("image/"):
                image = read_all(response, self.name)
            if kind in ("text/html", "application/json"):
                raise ImageError(f"{self.name} sent {kind}, neither an image nor a stream")
            if kind.startswith("multipart/"):
                boundary = response.headers.get_boundary("")
                splitter, tail = JpegSplitter(albums=False), b""
                while chunk := response.read1(STEP):
                    yield from splitter.feed(chunk)
                    tail = (tail + chunk)[-STEP:]
                if boundary and re.search(rb"--" + re.escape(boundary.strip("-").encode()) + rb"--\s*$", tail):
                    raise Ended
                return
            finite = response.length is not None  # a file, or a playlist, which says itself where it ends
        if image is not None:  # and came in time, as the block's end has found
            yield image
            raise Ended
        yield from self._frames({**web_options(), **LOW_DELAY}, first)
        if finite:
            raise Ended

    def _frames(self, options: dict[str, str], first: int) -> Iterator[Image]:
        with open_video(self.url, self.name, options=options, timeout=WAIT) as container:
            yield from self.decoded(container, first)
