"""What a run keeps of the images whose answers it waits for."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sacvit_deploy.commands.feed import Feed
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.item import Item
from sacvit_deploy.sources.frames import Frame, Kind, Note

COUNT = 5


@dataclass(frozen=True)
class Frames:
    """A source of arrays, of which others may be told when they are gone."""

    made: list[weakref.ref[Any]]
    name: str = "clip"
    kind: Kind = Kind.VIDEO

    def frames(self, note: Note) -> Iterator[Frame]:
        for number in range(COUNT):
            pixels = np.full((8, 8, 3), number, np.uint8)
            self.made.append(weakref.ref(pixels))
            yield Frame(str(number), Claimed(str(number), pixels), self.name, number)


@pytest.mark.parametrize("drawn", [False, True])
def test_images_are_let_go_before_their_answer(drawn: bool) -> None:
    made: list[weakref.ref[Any]] = []
    view = np.zeros((2, 2, 3), np.uint8)
    feed = Feed([Frames(made)], print, lambda name: False, (lambda source: Item("", view)) if drawn else None)
    deque(feed, maxlen=0)
    gc.collect()
    assert len(made) == COUNT and not any(image() is not None for image in made)
    for position in range(COUNT):
        taken = feed.answered(position)
        assert taken.frame.name == str(position) and (taken.view is view) == drawn
