"""The classifier of a network: its own, or one linear layer beside it, with the norms around it folded exactly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.parts import HEADISH, LOSS, RESCALES, Part, listed_parts, parts_in
from sacvit_deploy.export.tensors import dense

HEAD, BIAS = "head.weight", "head.bias"
TRANSFORMERS_HEAD = "classifier"
# First parts of the names that belong to the network itself and not to a classifier or a part beside it.
LAYOUT = {
    "cls_token",
    "reg_token",
    "register_tokens",
    "mask_token",
    "pos_embed",
    "pos_embed_list",
    "patch_embed",
    "norm_pre",
    "blocks",
    "norm",
    "fc_norm",
    "pooler",
    "reuse_block",
    "embeddings",
    "encoder",
    "layernorm",
}
BATCH_EPS = 1e-5  # torch's default; no file has the number
Step = tuple[dict[str, Tensor], list[str]]


def with_head(weights: Mapping[str, Tensor], outside: Mapping[str, Tensor], reads_pooler: bool | None = None) -> Step:
    """Return the network's weights with the classifier of its class token, if there is any, and notes.

    weights: under DeiT's names; outside: what stands beside the network. A classifier that is several layers is folded
    into one where that is exact. reads_pooler: False where the files say that the classifier does not. Raises
    CheckpointError for what may stand between the class token and the answer and can't be folded.
    """
    own = HEAD in weights
    kept = {name: value for name, value in weights.items() if _belongs(name, own)}
    inside = {name: value for name, value in weights.items() if name not in kept}
    if twice := sorted(set(inside) & set(outside)):
        raise CheckpointError(f"`{twice[0]}` stands inside the network and beside it; save the one that counts")
    if own:
        parts = parts_in([*outside, *inside])
        named = {name for part in parts for name in part.names}
        beside = {name: value for name, value in outside.items() if name not in named}
        _expect_one_classifier(beside, kept[HEAD])
        kept |= {name: value for name, value in inside.items() if name not in named}
        notes = _left_out(parts, set(beside))
    else:
        kept, notes = _taken(kept, outside, inside)
    if HEAD in kept:
        _expect_no_pooler(kept, reads_pooler)
        if BIAS not in kept:
            kept[BIAS] = torch.zeros(kept[HEAD].shape[:1])
            notes.append("its classifier has no bias: zeros stand in for it")
    return kept, notes


def refuse_numbers(raw: Mapping[str, Any]) -> None:
    """Raise CheckpointError for a plain number beside the weights that rescales the network's answers."""
    for name in ("temperature", "logit_scale"):
        value = raw.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value != (name == "temperature"):
            raise CheckpointError(
                f"`{name}` {value:g} beside the weights rescales the answers, and with them the confidence that images "
                "exit by; multiply it into the classifier, or leave it out of the file if it does not count"
            )


def dense_network(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with the network's own in fp32, the rest as it is. Raises CheckpointError as `dense`."""
    return {**weights, **dense({name: value for name, value in weights.items() if _belongs(name, True)})}


def only_network(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights without any classifier and without the known parts that stand among them."""
    parts = {name for part in parts_in(name for name in weights if not _belongs(name, False)) for name in part.names}
    return {name: value for name, value in weights.items() if name not in parts and not HEADISH.fullmatch(_first(name))}


def _belongs(name: str, own: bool) -> bool:
    return _first(name) in LAYOUT or (own and name in (HEAD, BIAS))


def _first(name: str) -> str:
    return name.partition(".")[0]


def _expect_no_pooler(weights: Mapping[str, Tensor], reads_pooler: bool | None) -> None:
    if reads_pooler is not False and any(name.startswith("pooler.") for name in weights):
        raise CheckpointError(
            "its classifier may read the pooler (`pooler.dense`), a layer with a tanh that SAC-ViT has no place for; "
            "if it reads the class token itself, take `pooler.dense.*` out of the file or put its config.json beside it"
        )


def _expect_one_classifier(beside: Mapping[str, Tensor], head: Tensor) -> None:
    """Raise CheckpointError where something beside a network with a classifier of its own may change the answer."""
    if scales := [name for name in beside if RESCALES.fullmatch(name)]:
        raise CheckpointError(
            f"`{scales[0]}` beside the network rescales its answers, and with them the confidence that images exit by; "
            "multiply it into the classifier and save that alone"
        )
    classes = head.shape[0] if head.ndim else 0
    for name in (name for name, value in beside.items() if not value.is_nested and value.ndim >= 2):
        shape = list(beside[name].shape)
        reads = "reads its answers" if shape[1] == classes else "may be the one that answers"
        raise CheckpointError(
            f"the network has a classifier of its own, `head`, and beside it `{name}` {shape}, which {reads}; save the "
            "network with the one classifier that answers"
        )
    for name, value in beside.items():
        if not value.is_nested and value.is_floating_point() and value.shape == (classes,):
            raise CheckpointError(
                f"`{name}` beside the network has a number for each class, which may change the answer; if it does "
                "not, take it out of the file, else put it into the classifier"
            )


def _taken(weights: dict[str, Tensor], outside: Mapping[str, Tensor], inside: Mapping[str, Tensor]) -> Step:
    """Make a classifier of what stands outside a network that has none, or among its weights."""
    others = {**outside, **inside}
    parts = parts_in(others)
    named = {name for part in parts for name in part.names}
    rest = {name: value for name, value in others.items() if name not in named}
    matrices = [name for name, value in rest.items() if name.endswith("weight") and value.ndim >= 2]
    if not matrices:  # what is not known inside the network stays, to be refused as having no place
        unknown = {name: value for name, value in inside.items() if name in rest}
        return weights | unknown, _left_out(parts, set(rest) - set(unknown))
    if foreign := [part for part in parts if part.kind != LOSS]:
        raise CheckpointError(
            f"beside the network stand {listed_parts(foreign)} and `{matrices[0]}`, so whether that classifies the "
            "class token is not told; save the network and its classifier in a file of their own"
        )
    if len(matrices) > 1:
        raise CheckpointError(
            f"the classifier beside the network is no single linear layer, but has {len(matrices)}, such as "
            f"`{matrices[0]}`"
        )
    name, width = matrices[0], weights["patch_embed.proj.weight"].shape[0]
    layer = name.removesuffix("weight").rstrip(".")
    if rest[name].ndim == 2 and rest[name].shape[1] == 2 * width:
        raise CheckpointError(
            f"its classifier `{layer}` reads the class token and the mean of the patches, as DINOv2's does; SAC-ViT's "
            "reads the class token"
        )
    if rest[name].ndim != 2 or rest[name].shape[1] != width:
        raise CheckpointError(
            f"`{name}` has shape {list(rest[name].shape)}, not that of a classifier over {width} channels"
        )
    weights, left, notes = _folded(weights, rest, layer)
    if left:
        kind = "rescales" if RESCALES.fullmatch(left[0]) else "may change"
        raise CheckpointError(
            f"beside the network and its classifier `{layer}` stands `{left[0]}`, which {kind} the answer; if it does "
            "not, take it out of the file, else fold it into the classifier"
        )
    return weights, [*notes, *_left_out(parts, set())]


def _folded(
    weights: Mapping[str, Tensor], rest: Mapping[str, Tensor], layer: str
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Take a linear layer, and the norms before and behind it in the same sequence, as the classifier.

    Returns the weights, the names that are left, and notes. Raises CheckpointError for a norm that can't be folded.
    """
    stem, _, index = layer.rpartition(".")
    sequence = re.compile(rf"{re.escape(stem)}\.(\d+)\.\w+" if index.isdigit() else "(?!)")
    taken = {name for name in rest if name in (f"{layer}.weight", f"{layer}.bias") or sequence.fullmatch(name)}
    found, out = dense({name: rest[name] for name in taken}), dict(weights)
    matrix, bias = found.pop(f"{layer}.weight"), found.pop(f"{layer}.bias", None)
    notes = []
    if layer != TRANSFORMERS_HEAD:  # the layout's own needs no word
        notes.append(f"took `{layer}` as the classifier of the class token")
    steps = sorted({int(m[1]) for m in map(sequence.fullmatch, found) if m})
    for number in steps:
        title = f"{stem}.{number}"
        norm = {name.removeprefix(f"{title}."): value for name, value in found.items() if name.startswith(f"{title}.")}
        if "running_var" in norm:
            matrix, bias = _with_batch_norm(matrix, bias, norm, title, before=number < int(index))
            notes.append(f"folded the batch norm `{title}` into it, with torch's epsilon of {BATCH_EPS:g}")
        elif number < int(index) and not {"norm.weight", "fc_norm.weight"} & set(out):
            out |= {f"norm.{part}": value for part, value in norm.items()}
            notes.append(f"took `{title}` as the last norm, as the network has none")
        else:
            raise CheckpointError(
                f"its classifier normalises once more (`{title}`), between the network's last norm and the answer, "
                "which no single linear layer does; SAC-ViT has no place for it"
            )
    if index.isdigit() and int(index) and not steps:
        notes.append(f"what stands before `{layer}` has no weights: taken for dropout")
    out |= {HEAD: matrix} | ({} if bias is None else {BIAS: bias})
    return out, sorted(set(rest) - taken), notes


def _with_batch_norm(
    matrix: Tensor, bias: Tensor | None, norm: Mapping[str, Tensor], title: str, *, before: bool
) -> tuple[Tensor, Tensor]:
    """Fold a batch norm, which at inference is one factor and one shift for each channel, into a linear layer."""
    size = matrix.shape[1] if before else matrix.shape[0]
    parts = {name: value.double() for name, value in norm.items()}
    if any(tuple(value.shape) != (size,) for value in parts.values()) or "running_mean" not in parts:
        raise CheckpointError(f"the batch norm `{title}` has not the {size} channels of the classifier beside it")
    variance = parts["running_var"]
    if not bool((((variance + BATCH_EPS) / (variance + BATCH_EPS / 10)).sqrt() - 1 < 1e-3).all()):
        raise CheckpointError(
            f"the batch norm `{title}` has variances near zero, where its epsilon decides, which no file has; fold it "
            "into the classifier and save that"
        )
    scale = parts.get("weight", torch.ones(size)) / (variance + BATCH_EPS).sqrt()
    shift = parts.get("bias", torch.zeros(size)) - parts["running_mean"] * scale
    weight, offset = matrix.double(), torch.zeros(matrix.shape[0]) if bias is None else bias.double()
    if before:
        return (weight * scale).float(), (offset + weight @ shift).float()
    return (weight * scale[:, None]).float(), (offset * scale + shift).float()


def _left_out(parts: list[Part], names: set[str]) -> list[str]:
    notes = [f"left out {listed_parts(parts)} beside the network"] if parts else []
    if names:
        weights = "a weight" if len(names) == 1 else f"{len(names)} weights"
        notes.append(f"left out {weights} beside the network, `{min(names)}`" + " first" * (len(names) > 1))
    return notes
