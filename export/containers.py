"""The network inside a checkpoint: found by the names that its weights share, whatever dicts and wrappers are around.

A checkpoint is read as one flat list of dotted names, in which a container (`state_dict`), a wrapper (`module`,
`_orig_mod`) and an attribute of the user's own (`net`, `backbone`) are all the same: a beginning that the names of one
network have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.foreign import refuse_adapters
from sacvit_deploy.export.other_networks import stranger
from sacvit_deploy.export.parts import HEADISH, RESCALES
from sacvit_deploy.export.tensors import oddity
from sacvit_deploy.export.wrappers import unwrap

Choice = Literal["model", "ema"]
MAX_DEPTH = 8  # of dicts inside dicts
# The one weight that every network of these families has, by layout: timm's and transformers'.
ANCHORS = ("patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight")
# What profilers and other tools leave among the weights.
BOOKKEEPING = ("total_ops", "total_params", "num_batches_tracked", "n_averaged", "position_ids")
# Parts of names by which trainers call averaged weights; `teacher` is the average in self-distillation.
AVERAGED = re.compile(r"(^|[._])(ema|swa|averaged?|avg|teacher|momentum)([._]|$)", re.IGNORECASE)

# Dicts of an optimiser, which hold something else under the names of weights.
MOMENTS = re.compile(r"(^|[._])(optim\w*|exp_avg\w*|momentum_buffer|moments?|grads?|gradients?)([._]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """Weights by their names inside the network; `outside` are those that stand beside it in the same container."""

    weights: dict[str, Tensor]
    outside: dict[str, Tensor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_weights(raw: Mapping[str, Any], choice: Choice | None = None) -> Found:
    """Find the network in a checkpoint's top-level dict.

    choice: the weights as trained or their running average, where a checkpoint has both; by default what the family
    publishes, which is the average under timm's name for it and in self-distillation, else the weights as trained.
    Raises CheckpointError where there is no network, or several.
    """
    flat, home = flatten(raw)
    if not flat:
        raise CheckpointError("no weights found in it")
    refuse_adapters(flat)
    pruned = _apply_masks(flat, home)
    dropped = [name for name in flat if _last(name) in BOOKKEEPING]
    short = unwrap([name for name in flat if _last(name) not in BOOKKEEPING], home)
    flat, home = {new: flat[old] for old, new in short.items()}, {new: home[old] for old, new in short.items()}
    anchors = {name.removesuffix(a): name for name in flat for a in ANCHORS if name == a or name.endswith(f".{a}")}
    anchors = {prefix: name for prefix, name in anchors.items() if not MOMENTS.search(prefix)}
    if not anchors:
        kind = stranger(name for name in flat if not MOMENTS.search(name))
        looks = f"; it looks like {kind}" if kind else ""
        raise CheckpointError(f"this is no DeiT-shaped model: `{ANCHORS[0]}` is missing{looks}")
    networks = {prefix: _below(flat, prefix, anchors) for prefix in anchors}
    prefix, notes = _choose(networks, choice)
    if any(name.startswith(prefix) for name in unwrap(pruned, home).values()):
        notes.append("applied the masks of pruned weights, which changes no answer")
    if dropped:
        notes.append(f"left out what is no weight: {', '.join(sorted({_last(n) for n in dropped}))}")
    outside = [name for name in flat if not name.startswith(tuple(anchors))]
    container = home[anchors[prefix]]
    homes = {container: "", **_siblings(container, home.values())}
    beside = {homes[home[n]] + n.removeprefix(home[n]): flat[n] for n in sorted(outside) if home[n] in homes}
    beside |= {n: flat[n] for n in sorted(outside) if container.startswith(home[n]) and RESCALES.fullmatch(n)}
    return Found(networks[prefix], beside, tuple(notes))


def flatten(raw: Mapping[Any, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return all tensors in a dict of dicts by dotted name, and the beginning of each name that its dict accounts for.

    What is no tensor is left out.
    """
    flat: dict[str, Tensor] = {}
    home: dict[str, str] = {}

    def walk(level: Mapping[Any, Any], path: str, depth: int) -> None:
        for key, value in level.items():
            if isinstance(value, Tensor):
                flat[f"{path}{key}"], home[f"{path}{key}"] = value, path
            elif isinstance(value, torch.nn.Module):  # only from a file that is trusted
                walk(value.state_dict(), f"{path}{key}.", depth + 1)
            elif isinstance(value, Mapping) and depth < MAX_DEPTH:
                walk(value, f"{path}{key}.", depth + 1)

    walk(raw, "", 0)
    return flat, home


def _apply_masks(flat: dict[str, Tensor], home: dict[str, str]) -> list[str]:
    """Put the products of `x_orig` and `x_mask`, as torch's pruning leaves them, in their places; return the names."""
    found = [name.removesuffix("_mask") for name in flat if name.endswith("_mask")]
    found = [name for name in found if f"{name}_orig" in flat]
    for name in found:
        value, mask = flat.pop(f"{name}_orig"), flat.pop(f"{name}_mask")
        if (reason := oddity(value)) is not None:
            raise CheckpointError(f"`{name}_orig` {reason}")
        if mask.is_nested or mask.layout != torch.strided or mask.is_meta or mask.shape != value.shape:
            raise CheckpointError(
                f"`{name}_mask` is no mask of the shape of `{name}_orig`; call prune.remove, then save"
            )
        flat[name], home[name] = (value.float() * mask.float()), home.pop(f"{name}_orig")
        del home[f"{name}_mask"]
    return found


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _siblings(container: str, homes: Iterable[str]) -> dict[str, str]:
    """Return the dicts beside or in the network's that hold layers by their name, with what their weights are called.

    Such as `head.` of {"backbone": weights, "head": weights}; an optimiser's moments beside are not the network's.
    """
    parent = container[:-1].rpartition(".")[0] + "." if container.count(".") > 1 else ""
    found = {}
    for home in sorted(set(homes) - {container}):
        for outer in (parent, container):
            name = home.removeprefix(outer).removesuffix(".")
            if home.startswith(outer) and HEADISH.fullmatch(name):
                found[home] = f"{name}."
    return found


def _below(flat: Mapping[str, Tensor], prefix: str, prefixes: Iterable[str]) -> dict[str, Tensor]:
    """Return the weights of one network by the rest of their names, without those of networks inside its prefix."""
    inner = tuple(other for other in prefixes if other != prefix and other.startswith(prefix))
    return {
        name.removeprefix(prefix): value
        for name, value in flat.items()
        if name.startswith(prefix) and not name.startswith(inner)
    }


def _choose(networks: Mapping[str, Mapping[str, Tensor]], choice: Choice | None) -> tuple[str, list[str]]:
    """Return the prefix of the network to take, and notes. Raises CheckpointError for several networks."""
    kinds: dict[Choice, list[str]] = {"model": [], "ema": []}
    for prefix in networks:
        kinds["ema" if AVERAGED.search(prefix) else "model"].append(prefix)
    if choice is None and kinds["model"] and kinds["ema"]:
        _expect_average(networks, kinds["model"][0], kinds["ema"][0])
    wanted = choice or _published(kinds)
    if not kinds[wanted]:
        there = "averaged weights" if wanted == "model" else "weights as trained"
        raise CheckpointError(
            f"--weights {wanted}: this checkpoint has nothing but {there}; leave --weights {wanted} away"
        )
    prefix = kinds[wanted][0]
    if strange := [other for other in kinds[wanted][1:] if not _same(networks[prefix], networks[other])]:
        titles = f"{_title(prefix)} and {_title(strange[0])}"
        raise CheckpointError(f"it holds several networks, {titles}; save the one to take in a file of its own")
    other: Choice = "ema" if wanted == "model" else "model"
    if not kinds[other] or _same(networks[prefix], networks[kinds[other][0]]):
        return prefix, []
    if _shapes(networks[prefix]) != _shapes(networks[kinds[other][0]]):
        return prefix, [f"it holds different networks: took {_title(prefix)}, as --weights {wanted} says"]
    words = {"model": "weights as trained", "ema": "averaged weights"}
    return prefix, [
        f"it holds {words['model']} and {words['ema']}, which differ: took the {words[wanted]} "
        f"({_title(prefix)}); --weights {other} takes the others"
    ]


def _title(prefix: str) -> str:
    return f"`{prefix.rstrip('.') or 'the top level'}`"


def _expect_average(networks: Mapping[str, Mapping[str, Tensor]], model: str, ema: str) -> None:
    """Raise CheckpointError unless the second network can be an average of the first: names and shapes are equal."""
    one, two = _shapes(networks[model]), _shapes(networks[ema])
    if one == two:
        return
    name = next(name for name in (*one, *two) if one.get(name) != two.get(name))
    first, second = ((list(shapes[name]) if name in shapes else "nothing") for shapes in (one, two))
    raise CheckpointError(
        f"it holds different networks, {_title(model)} and {_title(ema)} (`{name}`: {first} and {second}), so neither "
        f"is the other's average; choose: --weights model takes {_title(model)}, --weights ema takes {_title(ema)}"
    )


def _published(kinds: Mapping[Choice, list[str]]) -> Choice:
    """Return which weights a family publishes and evaluates.

    timm's validation and its exports take `state_dict_ema`; DINO's files are teachers, and beside a student the teacher
    is published. DeiT, CF-ViT and LF-ViT evaluate `model`, though their training scripts write `model_ema` beside it.
    """
    if not kinds["model"]:
        return "ema"
    student = any("student" in prefix for prefix in kinds["model"])
    published = "state_dict_ema|teacher" if student else "state_dict_ema"
    return "ema" if any(re.search(published, prefix) for prefix in kinds["ema"]) else "model"


def _shapes(network: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return shapes by name; a nested tensor, which has none, counts by its kind."""
    return {name: (-1,) if value.is_nested else tuple(value.shape) for name, value in network.items()}


def _same(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    """Tell whether two networks have the same weights; those that can't be compared count as different."""
    return one.keys() == two.keys() and all(_equal(one[name], two[name]) for name in one)


def _equal(one: Tensor, two: Tensor) -> bool:
    if oddity(one) or oddity(two) or one.shape != two.shape:
        return False
    return torch.equal(one.to(torch.float64), two.to(torch.float64))
