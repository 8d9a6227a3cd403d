"""Features of vision transformers beyond DeiT's that become the same function with fewer parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.errors import CheckpointError

# What is in a file but not in the function that classifies.
UNUSED = {
    "mask_token": "the token that stood for hidden patches in pre-training",
    "masked_embed": "the token that stood for hidden patches in pre-training",
    "pooler.dense.weight": "a pooler, which no classifier here reads",
    "pooler.dense.bias": "",
}
RENAMED = {"register_tokens": "reg_token"}  # DINOv2's name and timm's


def incomplete(missing: Sequence[str]) -> CheckpointError:
    """Make the error for weights that are missing."""
    if len(missing) == 1:
        return CheckpointError(f"1 weight is missing, `{missing[0]}`")
    return CheckpointError(f"{len(missing)} weights are missing, `{missing[0]}` first")


def simplified(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the same function's weights under DeiT's names, in fp32, and notes for the user.

    Layer scales are multiplied into the layer before them, missing biases become zeros, a norm behind the pooling of a
    class token becomes the last norm, and position rows of registers are added to them.
    """
    out, notes = {RENAMED.get(name, name): value for name, value in weights.items()}, []
    for step in (_without_unused, _with_joined_biases, _scaled, _with_biases, _with_last_norm, _with_register_rows):
        out, told = step(out)
        notes += told
    return out, notes


def unchunked(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return blocks without the number of their chunk, as DINOv2 trains them: there they keep their own numbers."""
    chunk = re.compile(r"blocks\.\d+\.(\d+\..+)")
    if not all(chunk.fullmatch(name) for name in weights if name.startswith("blocks.")):
        return dict(weights)
    renamed = {chunk.sub(r"blocks.\1", name): value for name, value in weights.items()}
    return renamed if len(renamed) == len(weights) else dict(weights)


Step = tuple[dict[str, Tensor], list[str]]


def _without_unused(weights: dict[str, Tensor]) -> Step:
    found = [name for name in UNUSED if name in weights]
    kept = {name: value for name, value in weights.items() if name not in UNUSED}
    return kept, [f"left out `{name}`, {UNUSED[name]}" for name in found if UNUSED[name]]


def _with_joined_biases(weights: dict[str, Tensor]) -> Step:
    """Join the biases of queries and values, between which EVA's and BEiT's keys have none, to one of all three."""
    out = dict(weights)
    for name, queries in weights.items():
        found = re.fullmatch(r"(blocks\.\d+\.attn\.)q_bias", name)
        if found and (values := weights.get(f"{found[1]}v_bias")) is not None:
            del out[name], out[f"{found[1]}v_bias"]
            keys = out.pop(f"{found[1]}k_bias", torch.zeros_like(queries))
            out[f"{found[1]}qkv.bias"] = torch.cat([queries, keys, values])
    return out, []


def _scaled(weights: dict[str, Tensor]) -> Step:
    """Fold LayerScale: gamma (W x + b) = (gamma W) x + gamma b, one factor for each output channel."""
    out, folded = dict(weights), 0
    for name, gamma in weights.items():
        found = re.fullmatch(r"(blocks\.\d+\.)(?:ls([12])\.gamma|gamma_([12]))", name)
        if not found:
            continue
        layer = found[1] + ("attn.proj" if (found[2] or found[3]) == "1" else "mlp.fc2")
        if f"{layer}.weight" not in out:
            raise CheckpointError(f"`{name}` scales `{layer}`, which is missing")
        if gamma.ndim != 1 or gamma.shape[0] != out[f"{layer}.weight"].shape[0]:
            raise CheckpointError(f"`{name}` has shape {list(gamma.shape)}, not that of the outputs of `{layer}`")
        factor = out.pop(name).double()
        for part, weight in ((f"{layer}.weight", factor[:, None]), (f"{layer}.bias", factor)):
            if part in out:
                out[part] = (out[part].double() * weight).float()
        folded += 1
    return out, [f"multiplied {folded} layer scales into the weights, which changes no answer"] * bool(folded)


def _with_biases(weights: dict[str, Tensor]) -> Step:
    """Add the biases that a network does without, as zeros."""
    out, added = dict(weights), []
    for name, value in weights.items():
        layer = re.fullmatch(r"(patch_embed\.proj|blocks\.\d+\.(?:attn\.qkv|attn\.proj|mlp\.fc[12]))\.weight", name)
        if layer and f"{layer[1]}.bias" not in weights:
            out[f"{layer[1]}.bias"] = torch.zeros(value.shape[0])
            added.append(f"{layer[1]}.bias")
    # One that is missing while its like are there is a damaged file, not a network without.
    there = {_in_any_block(name) for name in weights}
    if broken := [name for name in added if _in_any_block(name) in there]:
        raise incomplete(broken)
    names = ", ".join(sorted({_in_any_block(name).removesuffix(".bias") for name in added}))
    return out, [f"it has no biases in {names}"] * bool(names)


def _in_any_block(name: str) -> str:
    return re.sub(r"^blocks\.\d+\.", "", name)


def _with_last_norm(weights: dict[str, Tensor]) -> Step:
    """Rename a norm that follows the choice of the class token: per token, before and after are the same."""
    if "norm.weight" in weights or "fc_norm.weight" not in weights:
        return weights, []
    return {re.sub(r"^fc_norm\.", "norm.", name): value for name, value in weights.items()}, []


def _with_register_rows(weights: dict[str, Tensor]) -> Step:
    """Give the position table exactly one row before the grid's: timm's may have none, or one for each register."""
    table, registers = weights.get("pos_embed"), weights.get("reg_token")
    if table is None or table.ndim != 3 or "cls_token" not in weights:
        return weights, []
    extra = registers.shape[1] if registers is not None and registers.ndim == 3 else 0
    rows = table.shape[1]
    if is_square(rows - 1):
        return weights, []
    if is_square(rows):
        return weights | {"pos_embed": torch.cat([torch.zeros_like(table[:, :1]), table], dim=1)}, []
    if registers is not None and extra and is_square(rows - 1 - extra):
        own, rest = table[:, 1 : 1 + extra], table[:, 1 + extra :]
        return weights | {
            "reg_token": registers.float() + own.float(),
            "pos_embed": torch.cat([table[:, :1], rest], dim=1),
        }, []
    return weights, []


def resized_positions(table: Tensor, side: int) -> Tensor:
    """Return a position table [1,1+n^2,D] for a grid of `side` tokens a side, resampled as timm does it on loading."""
    old = round((table.shape[1] - 1) ** 0.5)
    grid = table[:, 1:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([table[:, :1].float(), grid.flatten(2).transpose(1, 2)], dim=1)


def is_square(number: int) -> bool:
    """Tell whether a number of tokens fills a square grid."""
    return number > 0 and round(number**0.5) ** 2 == number
