"""Contenders: the cascade and everything it is compared with, behind one protocol, with the same preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from sacvit_deploy.arrays import Array, Index
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.clock import Clock
from sacvit_deploy.confidence import StageAnswers, classify, most_probable
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.gate import share_time
from sacvit_deploy.images.prefetch import in_batches, prefetch
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.model import SACViT
from sacvit_deploy.preparing import PlacedPreparer
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.protocol import InFlight
from sacvit_deploy.stream import AHEAD

TAIL_BATCH = 4  # images of one tail call in SaiT's adaptive mode


class Contender(Protocol):
    """Classifier of decoded images."""

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """Yield one answer for each item, in order. batch: size of the batches; the last one may be smaller."""
        ...


@dataclass(frozen=True)
class CascadeContender:
    """Cascade as `SACViT.stream` runs it: gate at `eta`, stage 2 with `count` targets on joined batches.

    At eta = 0 stage 2 is never called, so a plain network can take the place of stage 1 (`plain_device.py`).
    workers: threads that copy images to where a device reads them, as a stream's put there what they decode; with one,
    the thread that runs the stages copies them.
    """

    model: SACViT | ContextPool
    eta: float
    count: int
    workers: int = 1

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """Run both stages, on the host or on a device as the backend does."""
        with self.model.stages(self.count, batch) as stages:
            scheduler = Scheduler(stages, self.eta, sac_batch=batch, patience=8 * batch)
            yield from scheduler.run(self._placed(scheduler, batches, batch))

    def _placed(self, scheduler: Scheduler, batches: Iterable[Sequence[Item]], batch: int) -> Iterable[Sequence[Item]]:
        """Return the batches, their images in memory of the stages' where these have some and there are workers."""
        places = scheduler.places(batch, AHEAD) if self.workers > 1 else None
        if places is None:
            return batches
        placed: PlacedPreparer[Item] = PlacedPreparer(lambda item: (item, 0), lambda item: item, places)
        items = chain.from_iterable(batches)
        put = prefetch(items, placed.prepare, limit=AHEAD * batch, workers=self.workers, claim=placed.claim)
        return in_batches(put, batch)


@dataclass(frozen=True)
class WholeView:
    """Contender that sees the whole image, from its normalised view to logits."""

    preprocessing: Preprocessing

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """Classify batch by batch; images that can't be decoded were left out before."""
        for items in batches:
            in_flight, clock = InFlight(len(items)), Clock()

            def lap(step: str, in_flight: InFlight = in_flight, clock: Clock = clock) -> None:
                in_flight.book(step, clock.lap())

            view = full_view([item.pixels for item in items if item.pixels is not None], self.preprocessing)
            lap("view")
            logits = self.logits(view, lap)
            highest = classify(StageAnswers(logits))
            classes = most_probable(logits, highest, range(len(items)))
            lap("answer")
            share_time(in_flight, [item.timing for item in items])
            for row, item in enumerate(items):
                yield Answer(item, logits[row], classes[row], highest[row])

    def logits(self, view: Array, lap: Callable[[str], None]) -> Array:
        """Classify images [B,3,S,S] fp32: logits [B,C]. lap: books the time since its last call on a step."""
        raise NotImplementedError


@dataclass(frozen=True)
class EngineContender(WholeView):
    """Network of one engine: plain DeiT, STViT, SaiT at a fixed ratio, any ONNX file."""

    classify: Callable[[Array], Array]

    def logits(self, view: Array, lap: Callable[[str], None]) -> Array:
        """Call the engine once."""
        logits = self.classify(view)
        lap("engine")
        return logits


@dataclass(frozen=True)
class SaiTMass(WholeView):
    """SaiT in its adaptive mode: each image keeps as many tokens as hold `threshold` of the class token's attention.

    The head gives every image's count. The batch is then cut into groups of images with about equal counts, and each
    group keeps its largest count, so nothing is masked or padded: a surplus token costs time, not accuracy. Two engines
    are what a deployment would run, as the cascade does.
    """

    head: Engine
    tail: Engine
    threshold: float

    def logits(self, view: Array, lap: Callable[[str], None]) -> Array:
        """Call the head once and the tail once per group."""
        out = self.head.run({"image": view})
        lap("head")
        scores, tokens = out["scores"], out["tokens"]
        best = np.argsort(-scores, axis=1)
        groups = group_by_count(counts_by_mass(scores, self.threshold))
        parts = []
        for group, kept in groups:
            chosen = np.concatenate([np.zeros((len(group), 1), np.int64), best[group, :kept] + 1], axis=1)
            inputs = {"tokens": tokens[group[:, None], chosen]}
            lap("select+gather")
            parts.append(self.tail.run(inputs)["logits"])
            lap("tail")
        order = np.argsort(np.concatenate([group for group, _ in groups]))
        logits: Array = np.concatenate(parts)[order]
        return logits


def counts_by_mass(scores: Array, threshold: float) -> Index:
    """Count the fewest tokens that hold `threshold` of each row's sum, at least 1: scores [B,T] -> [B].

    Mass-based selection of arXiv 2210.05832. threshold in (0, 1]; scores are not negative.
    """
    ordered = -np.sort(-scores.astype(np.float64), axis=1)
    mass = np.cumsum(ordered, axis=1)
    reached = mass >= threshold * mass[:, -1:] * (1 - 1e-12)
    counts: Index = reached.argmax(axis=1).astype(np.int64) + 1
    return counts


def threshold_for(scores: Array, mean: float) -> float:
    """Find the threshold at which scores [B,T] keep `mean` tokens per image on average, as nearly as possible."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if counts_by_mass(scores, middle).mean() < mean:
            low = middle
        else:
            high = middle
    return high


def group_by_count(counts: Index, most: int = TAIL_BATCH) -> list[tuple[Index, int]]:
    """Cut token counts [B] into groups of up to `most` rows with about equal counts: (rows, largest count) of each."""
    order = np.argsort(counts, kind="stable")
    return [(order[at : at + most], int(counts[order[at : at + most]].max())) for at in range(0, len(order), most)]


def classifier(engine: Engine, extra: Mapping[str, Array] | None = None) -> Callable[[Array], Array]:
    """Wrap an engine with inputs `image` and `extra`, which stay the same, as a function from images to logits."""
    constant = dict(extra or {})
    return lambda view: engine.run({"image": view, **constant})["logits"]
