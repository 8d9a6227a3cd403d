"""The answers of one stream of images, and how they come about."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.images.live_source import Keep, LiveSource, check_keep
from sacvit_deploy.images.pixel_arrays import Channels
from sacvit_deploy.images.prefetch import UntilFailure, in_batches, prefetch
from sacvit_deploy.images.scaled import BorrowedImage
from sacvit_deploy.images.sources import HELD, AnySource, claim
from sacvit_deploy.item import Item
from sacvit_deploy.opened import OpenedModel, to_prediction
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.preparing import PlacedPreparer
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.interchange import refusal

BATCH = 64  # images of an engine call unless given
AHEAD = 2  # batches that are decoded before stage 1 asks for them


@dataclass(frozen=True)
class Pace:
    """How long images of a stream may wait, and how many.

    batch: images of an engine call. max_delay: seconds that an image may wait for others; None for whole batches.
    keep: "latest" keeps the newest `batch` of those that wait, and no more.
    """

    batch: int
    max_delay: float | None
    keep: Keep

    @property
    def live(self) -> bool:
        """Tells whether the source sets the pace, so that it is read in a thread of its own."""
        return self.max_delay is not None or self.keep == "latest"


def check_pace(batch: int | None, max_delay: float | None, keep: Keep) -> Pace:
    """Return the pace that a stream's arguments ask for. Raises UsageError."""
    keep = check_keep(keep)
    if batch is None:
        batch = 1 if keep == "latest" else BATCH
    if isinstance(batch, bool) or not isinstance(batch, Integral) or batch < 1:
        raise UsageError(f"batch_size is {batch!r:.80}; it must be a whole number, at least 1")
    if max_delay is not None:
        if isinstance(max_delay, bool) or not isinstance(max_delay, Real) or not 0 <= max_delay < math.inf:
            raise UsageError(
                f"max_delay is {max_delay!r:.80}; it must be a number of seconds, 0 or more, or None to wait for whole "
                "batches"
            )
        max_delay = float(max_delay)
    return Pace(int(batch), max_delay, keep)


class Stream(Iterator[Prediction | SacvitError]):
    """Answers in the images' order; an image's error is in the place of its answer. `SACViT.stream` makes it.

    Each has the `position` of its image in the source. Nothing is taken from the source before the first answer is
    asked for. `close`, the end of a `with` block, or letting go of it ends the stream.
    """

    def __init__(
        self,
        answers: Generator[Prediction | SacvitError, None, None],
        sources: UntilFailure[AnySource],
        live: LiveSource[AnySource, Item] | None,
    ) -> None:
        self._answers, self._sources, self._live = answers, sources, live
        self._closed = False

    @property
    def taken(self) -> int:
        """Images taken from the source so far."""
        return self._sources.taken

    @property
    def dropped(self) -> int:
        """Images taken that newer ones pushed out before they were begun; only by keep="latest"."""
        return 0 if self._live is None else self._live.dropped

    def __next__(self) -> Prediction | SacvitError:
        answer = next(self._answers)
        if self._closed:  # by another thread
            self._answers.close()
            raise StopIteration
        return answer

    def stop(self) -> None:
        """Take no more images, and give no more answers, at once; `close` also clears up.

        A thread that waits for an answer gets StopIteration: at once where it waits for a live source, else after the
        answer it is at. A live source's reading thread ends when the source's next image comes.
        """
        self._closed = self._sources.stopped = True
        if self._live is not None:
            self._live.close()

    def close(self) -> None:
        """Take no more images, give no more answers, and wait for what is under way on a device; from any thread."""
        self.stop()
        with contextlib.suppress(ValueError):  # it is running in another thread, which closes it
            self._answers.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def begin_stream(
    opened: OpenedModel,
    sources: Iterable[AnySource],
    prepare: Callable[[AnySource], Item],
    *,
    eta: float,
    count: int,
    pace: Pace,
    workers: int,
) -> Stream:
    """Return the stream of answers for `sources`, which `prepare` makes into items. count: M."""
    taken = UntilFailure(sources)
    take = partial(claim, bounds=opened.preparer.bounds)
    live: LiveSource[AnySource, Item] | None = None
    if pace.live:
        live = LiveSource(taken, prepare, claim=take, keep=pace.keep, size=pace.batch, workers=workers, held=HELD)
        due = _due_batches(live, pace.max_delay or 0.0)
        return Stream(_answers(opened, eta, count, pace.batch, lambda _: due, taken), taken, live)

    def whole_batches(scheduler: Scheduler) -> Iterator[Sequence[Item]]:
        # With one worker, the thread that copies an image is this one anyway.
        places = scheduler.places(pace.batch, AHEAD) if workers > 1 else None
        ahead = partial(prefetch, taken, limit=AHEAD * pace.batch, workers=workers, held=HELD)
        if places is None:
            return in_batches(ahead(prepare, claim=take), pace.batch)
        placed = PlacedPreparer(take, prepare, places)
        return in_batches(ahead(placed.prepare, claim=placed.claim), pace.batch)

    return Stream(_answers(opened, eta, count, pace.batch, whole_batches, taken), taken, None)


def begin_borrowed(
    opened: OpenedModel, tensor: Any, channels: Channels, *, eta: float, count: int, batch: int
) -> Stream:
    """Return the stream of answers for the images of a tensor that is on the model's one device.

    It raises UsageError unless that is [B,S,S,3] uint8 without gaps.
    """
    rows: UntilFailure[Any] = UntilFailure(range(len(tensor)))
    return Stream(_borrowed(opened, tensor, channels, rows, eta, count, batch), rows, None)


def _borrowed(
    opened: OpenedModel,
    tensor: Any,
    channels: Channels,
    rows: UntilFailure[Any],
    eta: float,
    count: int,
    batch: int,
) -> Generator[Prediction | SacvitError, None, None]:
    name = f"<{type(tensor).__name__}>"
    if channels != "rgb":
        raise refusal(opened.config.geometry.image_size, f"channels is {channels!r}")
    with opened.pools[0].stages(count, batch) as stages:
        images = stages.borrow(tensor)
        if not isinstance(images, UsageError):
            items = (Item(name, None, borrowed=BorrowedImage(images, row)) for row in rows)
            scheduler = Scheduler(stages, eta, sac_batch=batch, patience=8 * batch)
            for answer in scheduler.run(in_batches(items, batch)):
                assert answer.item.position is not None
                yield to_prediction(answer, opened.bundle, answer.item.position)
    if isinstance(images, UsageError):
        raise images


def _due_batches(live: LiveSource[AnySource, Item], max_delay: float) -> Iterator[list[Item]]:
    for batch in live.batches():
        items = []
        for image in batch:
            item = image.result()
            item.position, item.due = image.position, image.taken_at + max_delay
            items.append(item)
        yield items


def _answers(
    opened: OpenedModel,
    eta: float,
    count: int,
    batch: int,
    make_batches: Callable[[Scheduler], Iterator[Sequence[Item]]],
    taken: UntilFailure[AnySource],
) -> Generator[Prediction | SacvitError, None, None]:
    with opened.stages(count, batch) as stages:
        fallback = opened.remote is not None and opened.remote.where.fallback
        scheduler = Scheduler(stages, eta, sac_batch=batch, patience=8 * batch, fallback=fallback)
        for answer in scheduler.run(make_batches(scheduler)):
            assert answer.item.position is not None
            yield to_prediction(answer, opened.bundle, answer.item.position)
    taken.raise_failure()
