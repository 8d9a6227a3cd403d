"""Optimisation profiles: the ranges of shapes that a plan is built for, from the geometry alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import Shape, Sizes, engine_contract
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import num_targets


@dataclass(frozen=True)
class Span:
    """A size that varies: the least, the one to be fastest at, the greatest. Raises UsageError if out of order."""

    least: int
    usual: int
    greatest: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.usual <= self.greatest:
            raise UsageError(f"a range needs 1 <= least <= usual <= greatest, not {', '.join(map(str, self))}")

    def __iter__(self) -> Iterator[int]:
        return iter((self.least, self.usual, self.greatest))


class Shapes(NamedTuple):
    """One input's shapes in a profile, as the library wants them."""

    least: Shape
    usual: Shape
    greatest: Shape


def target_span(config: ModelConfig, alphas: Sequence[float] | None = None) -> Span:
    """M, the number of targets, for alphas least, usual, greatest; without them, for every alpha there is.

    Without a usual alpha, usual is the M of the model's own, or the nearest in the range. Raises UsageError for an
    alpha that leaves a cluster empty, and for alphas in the wrong order.
    """
    tokens, method = config.geometry.tokens, config.method
    own = num_targets(method.alpha, tokens, method.rounding)
    if alphas is None:
        return Span(1, own, tokens - 1)
    counts = [num_targets(alpha, tokens, method.rounding) for alpha in alphas]
    least, greatest = counts[0], counts[-1]
    return Span(least, counts[1] if len(counts) == 3 else min(max(own, least), greatest), greatest)


def stage_shapes(role: str, config: ModelConfig, batch: Span, targets: Span | None = None) -> Mapping[str, Shapes]:
    """Return the shapes of each input of one engine (one of the contract's ROLES), by the contract's names.

    batch: images a call. targets: M, for `sac` and `gather`; None is every alpha's. Raises UsageError for another role
    and for targets that leave no background.
    """
    tensors = engine_contract(role, config).inputs
    m = targets or target_span(config)
    if m.greatest >= config.geometry.tokens:
        raise UsageError(f"{m.greatest} targets of {config.geometry.tokens} tokens leave no background")
    # The most targets leave the least background. The library treats the two as independent sizes.
    rest = Span(*(config.geometry.tokens - count for count in reversed(tuple(m))))
    # Anything from one image of a batch to all of it may continue.
    rows = Span(1, batch.usual, batch.greatest)
    sizes = [Sizes(*values) for values in zip(batch, m, rest, rows, strict=True)]
    return {name: Shapes(*map(tensor.at, sizes)) for name, tensor in tensors.items()}


def batch_spans(batch: Span) -> list[Span]:
    """The profiles' batches: one picture alone, for latency, and the whole range."""
    alone = [Span(1, 1, 1)] if batch.least == 1 < batch.greatest else []
    return [*alone, batch]
