"""Limits of what the few bytes of a checkpoint may unfold to, checked before anything is built from them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import CheckpointError

LEVELS = 64  # of containers inside containers
CONTAINERS, ENTRIES = 250_000, 10_000_000  # each counted as often as it is reached
# Bytes that tensors may have for each byte of the file, as views of one another, and beyond that.
UNFOLDED, SMALL = 8, 256 << 20
FEW_WEIGHTS = 1 << 20  # of a network that may be built whatever it is compared with
MOST_ELEMENTS = 1 << 32  # of a tensor without data, which takes no byte of the file


def check_tree(content: Any) -> None:
    """Raise CheckpointError for containers that hold themselves, or so many that walking them would not end.

    A pickle may place one dict in many places: a few lines of it are a tree of any size.
    """
    level, depth, entries, containers = [content], 0, 0, 0
    while level:
        depth, containers = depth + 1, containers + len(level)
        if depth > LEVELS:
            raise CheckpointError(f"its dicts and lists are nested more than {LEVELS} levels deep, or hold themselves")
        below: list[Any] = []
        for container in level:
            inner = _inner(container)
            entries += len(inner)
            if entries > ENTRIES or containers + len(below) > CONTAINERS:
                raise CheckpointError("its dicts and lists unfold to more than any checkpoint has")
            below.extend(item for item in inner if isinstance(item, (Mapping, list, tuple, set, argparse.Namespace)))
        level = below


def _inner(container: Any) -> list[Any]:
    if isinstance(container, argparse.Namespace):
        container = vars(container)
    return [*container.keys(), *container.values()] if isinstance(container, Mapping) else list(container)


def check_unfolded(tensors: Iterable[Tensor], size: int) -> None:
    """Raise CheckpointError for tensors that take many times the `size` of their file, in bytes, once computed with.

    Tensors may repeat one another's bytes: an expanded one has 10^12 elements of one number.
    """
    total = 0
    for tensor in tensors:
        elements = tensor.numel()
        if elements > MOST_ELEMENTS:
            raise CheckpointError(f"one of its tensors has the shape {list(tensor.shape)}, which no network needs")
        total += 0 if tensor.is_meta else elements * tensor.element_size()
    if total > UNFOLDED * size + SMALL:
        raise CheckpointError(
            f"its tensors unfold to {total / 1e9:,.1f} GB from {size / 1e6:,.1f} MB; save them with `.clone()`"
        )


def check_weights(config: ModelConfig, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for a config of a larger network than there are weights for, before it is built."""
    geometry = config.geometry
    block = geometry.width * (4 * geometry.width + 2 * geometry.hidden)
    rows = geometry.patch_values + geometry.classes + geometry.tokens
    needed, there = geometry.depth * block + rows * geometry.width, sum(value.numel() for value in tensors.values())
    if needed > max(there, FEW_WEIGHTS):
        raise CheckpointError(f"its config describes a network of {needed:,} weights or more, and it holds {there:,}")
