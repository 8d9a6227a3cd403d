"""Normalisation that a network does itself, with its mean and std among the weights, taken as the preprocessing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.containers import Found
from sacvit_deploy.export.overrides import Overrides
from sacvit_deploy.export.settings_fields import Settings, Triple, beyond_one, merge, numbers

# The names that buffers of a module such as Normalize have, wherever it stands.
BUFFER = re.compile(r"(?P<place>.*\.)?(?P<before>(?:pixel_|image_|img_|input_|_)?)(?P<kind>mean|std)(?P<s>s?)")
SOURCE = "the weights"


def own_normalisation(found: Found, settings: Settings, overrides: Overrides) -> tuple[Found, Settings]:
    """Return the weights without buffers of a mean and a std, and the settings with these, which are noted.

    The network normalises pixels itself, so what its files say may only be the same, or nothing (mean 0, std 1). Raises
    CheckpointError where they contradict each other, or for values above 1, unless flags say both.
    """
    everything = {**found.outside, **found.weights}
    pair = _pair(everything)
    if pair is None:
        return found, settings
    rest = replace(
        found,
        weights={name: value for name, value in found.weights.items() if name not in pair},
        outside={name: value for name, value in found.outside.items() if name not in pair},
    )
    title = " and ".join(f"`{name}`" for name in pair)
    if None not in (overrides.mean, overrides.std):
        return rest, merge(settings, Settings(notes=(f"left out {title}: --mean and --std go before them",)))
    taken: dict[str, Triple] = {}
    for kind, name in zip(("mean", "std"), pair, strict=True):
        taken[kind] = _values(kind, name, everything[name])
        said = getattr(settings, kind)
        nothing = (0.0,) * 3 if kind == "mean" else (1.0,) * 3
        if said not in (None, nothing) and not _close(said, taken[kind]) and getattr(overrides, kind) is None:
            raise CheckpointError(
                f"`{name}` is {numbers(taken[kind])}, and {settings.sources[kind]} says {kind} {numbers(said)}: pixels "
                "would be normalised twice; say --mean and --std"
            )
    note = f"the network normalises pixels itself: took {title} as the preprocessing, and left them out of the weights"
    own = Settings(taken["mean"], taken["std"], sources=dict.fromkeys(taken, SOURCE), notes=(note,))
    return rest, merge(own, settings)


def _pair(tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return the names of a mean and a std that stand together; None where there are none."""
    kinds: dict[tuple[str, ...], dict[str, str]] = {}
    for name, value in tensors.items():
        match = BUFFER.fullmatch(name)
        if match and value.numel() in (1, 3) and value.is_floating_point():
            kinds.setdefault((match["place"] or "", match["before"], match["s"]), {})[match["kind"]] = name
    return next(((kind["mean"], kind["std"]) for kind in kinds.values() if len(kind) == 2), None)


def _values(kind: str, name: str, value: Tensor) -> Triple:
    """Return a buffer's numbers, of fp32 as its decimals were. Raises CheckpointError for impossible ones."""
    values = [float(f"{number:.7g}") for number in value.flatten().tolist()]
    red, green, blue = values * 3 if len(values) == 1 else values
    if not all(map(math.isfinite, values)) or (kind == "std" and min(values) <= 0):
        raise CheckpointError(f"`{name}` is {numbers(values)}; say --mean and --std")
    if reason := beyond_one(values):
        raise CheckpointError(f"`{name}` is {numbers(values)}, no {kind} {reason}; say --mean and --std")
    return red, green, blue


def _close(one: Triple, two: Triple) -> bool:
    return all(abs(a - b) < 1e-4 for a, b in zip(one, two, strict=True))
