"""What all sources give: images with a name and, where they are frames, a number and a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from time import perf_counter
from typing import Protocol

from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.sources import AnySource, Claimed

Note = Callable[[str], None]  # takes a remark for the user


class Kind(Enum):
    """How a source gives its images, from which the defaults of a run follow."""

    IMAGE = "image"  # one
    VIDEO = "video"  # frames as fast as they are asked for
    PIPE = "pipe"  # one or many, as fast as its writer; who waits for us
    LIVE = "live"  # frames as they happen, whether or not they are asked for


@dataclass(frozen=True, eq=False)
class Frame:
    """An image on its way to the model.

    name: of its answer. source: the name of what it came from. number: of a frame, from 0. time: seconds since the
    first moment of a video, or since a live source's first frame. arrived: when it was here, by `time.perf_counter`.
    """

    name: str
    image: AnySource
    source: str
    number: int | None = None
    time: float | None = None
    arrived: float = field(default_factory=perf_counter)


class Source(Protocol):
    """Something that gives images. `frames` raises nothing of class SacvitError: an error is an image's answer."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    def frames(self, note: Note) -> Iterator[Frame]: ...


@dataclass(frozen=True)
class ImageFile:
    """An image file, read when its turn comes."""

    path: Path
    kind: Kind = Kind.IMAGE

    @property
    def name(self) -> str:
        return str(self.path)

    def frames(self, note: Note) -> Iterator[Frame]:
        yield Frame(self.name, self.path, self.name)


@dataclass(frozen=True)
class Refused:
    """A line of a list that is no source; its error is its answer."""

    name: str
    error: SacvitError
    kind: Kind = Kind.IMAGE

    def frames(self, note: Note) -> Iterator[Frame]:
        yield failed(self.name, self.error)


def failed(name: str, error: SacvitError) -> Frame:
    """Return an error in the place of a source's next image."""
    return Frame(name, Claimed(name, None, error), name)


def frame_name(source: str, number: int) -> str:
    """Name a frame: `clip.mp4#frame 17`."""
    return f"{source}#frame {number}"
