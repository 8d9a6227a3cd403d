"""What is measured: the cascade, and everything it is compared with, behind one protocol.

Every contender takes batches of decoded pictures and gives an answer for each, and does both with the same care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.clock import Clock
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.glue import softmax
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.scheduler import Answer, Item, Scheduler, share
from sacvit_deploy.stages.protocol import InFlight

GROUP = 4  # pictures of one tail call in SaiT's adaptive mode


class Contender(Protocol):
    """Something that classifies pictures."""

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """One answer for each item, in order; `batch` is the size of the batches, the last one may be smaller."""
        ...


@dataclass(frozen=True)
class CascadeContender:
    """The cascade as `SACViT.stream` runs it: gate at `eta`, stage 2 with `count` targets, continuing ones joined."""

    model: SACViT
    eta: float
    count: int

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """Send them through both stages, wherever the backend keeps them."""
        with self.model.stages(self.count, batch) as stages:
            yield from Scheduler(stages, self.eta, sac_batch=batch, patience=8 * batch).run(batches)


@dataclass(frozen=True)
class Direct:
    """A network of one engine that sees the whole picture: plain DeiT, STViT, SaiT at a fixed ratio, any ONNX file.

    `classify` takes [B,3,S,S] fp32, normalised, and gives logits [B,C].
    """

    classify: Callable[[Array], Array]
    preprocessing: Preprocessing

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """One engine call for a batch."""
        for items in batches:
            ticket, clock = InFlight(len(items)), Clock()
            view = full_view(pixels_of(items), self.preprocessing)
            ticket.book("view", clock.lap())
            logits = self.classify(view)
            ticket.book("engine", clock.lap())
            probabilities = softmax(logits)
            ticket.book("answer", clock.lap())
            for item, row in zip(items, probabilities, strict=True):
                share(ticket, item.timing)
                yield Answer(item, probabilities=row)


@dataclass(frozen=True)
class SaiTMass:
    """SaiT with as many tokens for each picture as hold `threshold` of the class token's attention.

    The head tells how many a picture needs; then the batch is cut into groups of pictures with about equal counts, and
    each group keeps the largest count in it. So nothing is masked or padded: a token too many costs time, no accuracy,
    and the groups make it few of them. It is what a deployment would do that may run two engines, as the cascade may.
    """

    head: Engine
    tail: Engine
    threshold: float
    preprocessing: Preprocessing

    def answers(self, batches: Iterable[Sequence[Item]], batch: int) -> Iterator[Answer]:
        """One head call for a batch, a tail call for each group."""
        for items in batches:
            ticket, clock = InFlight(len(items)), Clock()
            view = full_view(pixels_of(items), self.preprocessing)
            ticket.book("view", clock.lap())
            out = self.head.run({"image": view})
            ticket.book("head", clock.lap())
            scores, tokens = out["scores"], out["tokens"]
            best = np.argsort(-scores, axis=1)
            counts = counts_by_mass(scores, self.threshold)
            logits: list[Array | None] = [None] * len(items)
            ticket.book("select+gather", clock.lap())
            for group, kept in groups(counts):
                chosen = np.concatenate([np.zeros((len(group), 1), np.int64), best[group, :kept] + 1], axis=1)
                inputs = {"tokens": tokens[group[:, None], chosen]}
                ticket.book("select+gather", clock.lap())
                for row, found in zip(group, self.tail.run(inputs)["logits"], strict=True):
                    logits[row] = found
                ticket.book("tail", clock.lap())
            probabilities = softmax(np.stack([found for found in logits if found is not None]))
            ticket.book("answer", clock.lap())
            for item, row in zip(items, probabilities, strict=True):
                share(ticket, item.timing)
                yield Answer(item, probabilities=row)


def counts_by_mass(scores: Array, threshold: float) -> Index:
    """[B,T] attention of the class token -> [B]: the fewest tokens that hold `threshold` of each row's sum, at least 1.

    arXiv 2210.05832's mass-based selection. threshold in (0, 1]; scores must not be negative.
    """
    ordered = -np.sort(-scores.astype(np.float64), axis=1)
    mass = np.cumsum(ordered, axis=1)
    reached = mass >= threshold * mass[:, -1:] * (1 - 1e-12)
    found: Index = reached.argmax(axis=1).astype(np.int64) + 1
    return found


def threshold_for(scores: Array, mean: float) -> float:
    """The threshold at which [B,T] scores keep `mean` tokens a picture, as nearly as these pictures allow."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if counts_by_mass(scores, middle).mean() < mean:
            low = middle
        else:
            high = middle
    return high


def groups(counts: Index, most: int = GROUP) -> list[tuple[Index, int]]:
    """[B] token counts -> rows of pictures with about equal counts, and each group's largest; all rows, each once."""
    order = np.argsort(counts, kind="stable")
    return [(order[at : at + most], int(counts[order[at : at + most]].max())) for at in range(0, len(order), most)]


def plain(engine: Engine, extra: Mapping[str, Array] | None = None) -> Callable[[Array], Array]:
    """An engine with the contract's names as `Direct.classify`; `extra` are inputs that stay the same."""
    constant = dict(extra or {})
    return lambda view: engine.run({"image": view, **constant})["logits"]


def pixels_of(items: Sequence[Item]) -> list[Pixels]:
    """The decoded pictures; what can't be decoded was sorted out before."""
    return [item.pixels for item in items if item.pixels is not None]
