"""Ranges of input shapes for TensorRT's optimisation profiles, computed from the geometry alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import Shape, Sizes, engine_contract
from sacvit_deploy.errors import UsageError


@dataclass(frozen=True)
class SizeRange:
    """Range of an open dimension; the plan is tuned for `opt`. Raises UsageError unless 1 <= min <= opt <= max."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise UsageError(f"a range needs 1 <= min <= opt <= max, not {', '.join(map(str, self))}")

    def __iter__(self) -> Iterator[int]:
        return iter((self.min, self.opt, self.max))


class ShapeRange(NamedTuple):
    """Shapes of one input in an optimisation profile, in the order of TensorRT's `set_shape`."""

    min: Shape
    opt: Shape
    max: Shape


InputRanges = Mapping[str, ShapeRange]  # one optimisation profile, by input


def target_range(config: ModelConfig, alphas: Sequence[float] | None = None) -> SizeRange:
    """Return the range of M, the number of targets, for alphas (min, opt, max) or (min, max).

    Without alphas the range covers every alpha. Without an opt alpha, the opt size is that of the model's alpha, or the
    nearest in the range. Raises UsageError for an alpha that leaves a cluster empty, and for alphas out of order.
    """
    tokens, default = config.geometry.tokens, config.num_targets()
    if alphas is None:
        return SizeRange(1, default, min(config.window or tokens, tokens - 1))
    counts = [config.num_targets(alpha) for alpha in alphas]
    low, high = counts[0], counts[-1]
    return SizeRange(low, counts[1] if len(counts) == 3 else min(max(default, low), high), high)


def input_ranges(role: str, config: ModelConfig, batch: SizeRange, targets: SizeRange | None = None) -> InputRanges:
    """Return the shape range of each input of one engine (one of the contract's ROLES), by the contract's names.

    batch: images per call. targets: M, for `sac` and `gather`; None covers every alpha. Raises UsageError for another
    role and for targets that leave no background.
    """
    tensors = engine_contract(role, config).inputs
    m = targets or target_range(config)
    if m.max >= config.geometry.tokens:
        raise UsageError(f"{m.max} targets of {config.geometry.tokens} tokens leave no background")
    # The most targets leave the least background. The library treats the two as independent sizes.
    rest = SizeRange(*(config.geometry.tokens - count for count in reversed(tuple(m))))
    # Between one image of a batch and all of them may continue.
    rows = SizeRange(1, batch.opt, batch.max)
    sizes = [Sizes(*values) for values in zip(batch, m, rest, rows, strict=True)]
    return {name: ShapeRange(*map(tensor.at, sizes)) for name, tensor in tensors.items()}


def batch_ranges(batch: SizeRange) -> list[SizeRange]:
    """Return the batch range of each profile: a single image, for latency, and the whole range."""
    single = [SizeRange(1, 1, 1)] if batch.min == 1 < batch.max else []
    return [*single, batch]
