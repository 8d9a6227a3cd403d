"""The images of a run, on their way into the model: each is remembered until its answer comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.decode import image_error
from sacvit_deploy.images.reading import is_open_file, read_open
from sacvit_deploy.images.sources import AnySource, Claimed
from sacvit_deploy.item import Item
from sacvit_deploy.sources.frames import Frame, ImageFile, Note, Source

Prepare = Callable[[AnySource], Item]


@dataclass(frozen=True, eq=False)
class Taken:
    """A frame that the model has taken. source: its source's number.

    position: its number among those given to the model. number: among all images of the sources, with those that were
    answered before. view: what the model sees of it [S,S,3], where it is to be drawn and can't be read again.
    """

    frame: Frame
    position: int
    source: int
    number: int
    view: Pixels | None = None


class Feed:
    """Iterates over the images of all sources, in the thread that the model takes them in.

    is_done: whether an image's answer is known already, so that it is left out. prepare: fits an image that can't be
    read twice to the model's view, to be drawn later; None where nothing is drawn.
    """

    def __init__(
        self, sources: Sequence[Source], note: Note, is_done: Callable[[str], bool], prepare: Prepare | None = None
    ) -> None:
        self._sources, self._note, self._is_done, self._prepare = sources, note, is_done, prepare
        self._waiting: deque[Taken] = deque()  # of which one thread appends, another one takes
        self.count = self.done = 0  # images given to the model, and left out

    def __iter__(self) -> Iterator[AnySource]:
        for number, source in enumerate(self._sources):
            for frame in source.frames(self._note):
                if self._is_done(frame.name):
                    self.done += 1
                    continue
                taken = Taken(frame, self.count, number, self.count + self.done)
                if isinstance(source, ImageFile):
                    self._waiting.append(taken)
                else:
                    if self._prepare is not None:
                        taken = _kept(taken, self._prepare)
                    self._waiting.append(_without_image(taken))
                self.count += 1
                yield taken.frame.image

    def answered(self, position: int | None) -> Taken:
        """Return the frame at an answer's position, and forget those before it, which were dropped."""
        assert position is not None
        while (taken := self._waiting.popleft()).position < position:
            pass
        return taken


def _kept(taken: Taken, prepare: Prepare) -> Taken:
    """Read an image, so that nobody needs to read it again, and keep the model's view of it."""
    frame = taken.frame
    if isinstance(frame.image, Claimed) and is_open_file(frame.image.source):
        try:
            image = Claimed(frame.name, read_open(frame.image.source, frame.name))
        except Exception as error:
            image = Claimed(frame.name, None, image_error(frame.name, error))
        frame = replace(frame, image=image)
    return replace(taken, frame=frame, view=prepare(frame.image).pixels)


def _without_image(taken: Taken) -> Taken:
    """Let go of an image, as the model has it: what waits for answers is outside the bound on a stream's memory."""
    name = taken.frame.name
    gone = Claimed(name, None, ImageError(f"can't draw {name}: it can't be read again"))
    return replace(taken, frame=replace(taken.frame, image=gone))
