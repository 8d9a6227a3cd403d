"""The weights of transformers' ViT, DeiT and DINOv2 under timm's names, which everything else here uses."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.tensors import oddity

MARK = "embeddings.patch_embeddings.projection.weight"
EMBEDDINGS = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
    "embeddings.register_tokens": "reg_token",
    # The head of transformers' DeiT reads the class token alone: the distillation token is there as a register is.
    "embeddings.distillation_token": "reg_token",
    "embeddings.mask_token": "mask_token",
    "layernorm.weight": "norm.weight",
    "layernorm.bias": "norm.bias",
}
# Parts of a block, as written to files; transformers 5 has other names in memory, the second of a pair.
PARTS = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.attention.query": "attn.q",
    "attention.attention.key": "attn.k",
    "attention.attention.value": "attn.v",
    "attention.output.dense": "attn.proj",
    "attention.q_proj": "attn.q",
    "attention.k_proj": "attn.k",
    "attention.v_proj": "attn.v",
    "attention.o_proj": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "layer_scale1": "ls1",
    "layer_scale2": "ls2",
}
_BLOCK = re.compile(r"(?:encoder\.)?layers?\.(\d+)\.(.+)\.([^.]+)")


def from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of one network; queries, keys and values become one matrix. Unknown names stay as they are.

    Raises CheckpointError for a query without its key and value.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        block = _BLOCK.fullmatch(name)
        if block:
            part, last = PARTS.get(block[2], block[2]), "gamma" if block[3] == "lambda1" else block[3]
            renamed[f"blocks.{block[1]}.{part}.{last}"] = value
        else:
            renamed[EMBEDDINGS.get(name, name)] = value
    return joined(renamed)


def joined(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stack queries, keys and values [D,D] to [3D,D], and their biases, where they are apart.

    Raises CheckpointError for a query without its key and value, and for what can't be stacked.
    """
    out = dict(weights)
    for name in weights:
        found = re.fullmatch(r"(blocks\.\d+\.attn\.)[qkv]\.(weight|bias)", name)
        if found and (target := f"{found[1]}qkv.{found[2]}") not in out:
            parts = [f"{found[1]}{part}.{found[2]}" for part in "qkv"]
            if missing := [part for part in parts if part not in weights]:
                raise CheckpointError(f"`{missing[0]}` is missing where `{name}` is there")
            if any(weights[part].is_nested for part in parts) or len({weights[part].shape for part in parts}) > 1:
                raise CheckpointError(f"queries, keys and values of `{found[1]}` differ in shape")
            if found_odd := next((part for part in parts if oddity(weights[part]) is not None), None):
                raise CheckpointError(f"`{found_odd}` {oddity(weights[found_odd])}")
            out[target] = torch.cat([out.pop(part) for part in parts])
    return out
