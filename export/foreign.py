"""Features of vision transformers that SAC-ViT has no place for: refused by their names, with the way out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from sacvit_deploy.errors import CheckpointError

# By a pattern of names, inside the network and beside it.
REFUSED = {
    r"head_dist\..*|distillation_classifier\..*": "is a distilled DeiT: its second head mixes another token's answer "
    "into every prediction; use the checkpoint without distillation",
    r"dist_token": "is a distilled DeiT (it has a `dist_token`); use the checkpoint without distillation",
    r"aux_head\..*": "is an LV-ViT (it has an `aux_head`), whose token labelling and stem SAC-ViT does not have",
    r"(.*\.)?attn_pool\..*": "pools by attention (`attn_pool`); SAC-ViT classifies the class token",
    r"pre_logits\..*": "has a layer before its classifier (`pre_logits`), which SAC-ViT has no place for",
    r".*\.(zero_point|SCB|absmax|quant_map|qweight|qzeros|g_idx|input_scale|weight_scale\w*|scale_weight|scale_inv)|"
    r".*_packed_params.*|.*\.quant_state\..*": "is quantised; give the checkpoint as trained, for "
    "--int8 quantises it anew",
}
# By a pattern of names inside the network.
REFUSED_INSIDE = {
    r"layers\.\d+\.blocks\..*|layers\.\d+\.downsample\..*|blocks\.\d+\.blocks\..*|blocks\.\d+\.downsample\..*": "is a "
    "Swin or another network of several resolutions, which attends in windows; SAC-ViT's blocks see all tokens",
    r".*relative_position.*|.*rel_pos.*|.*rel_indices": "has relative position biases, as BEiT and Swin do; SAC-ViT "
    "reuses tokens across two grids, which needs a position table",
    r".*rope.*|.*\.freqs.*|.*rotary.*": "has rotary positions; SAC-ViT's need a table",
    r"blocks\.\d+\.attn\.([qk]_norm|[qk]_ln|norm_[qk]|query_norm|key_norm|ln_[qk])\..*": "normalises queries and keys "
    "(QK-norm, such as `q_norm`); SAC-ViT does not",
    r"blocks\.\d+\.(attn|mlp)\.(norm|ln|ffn_ln|inner_attn_ln)\..*": "normalises inside attention or MLP (`attn.norm`, "
    "`mlp.norm`), as EVA does",
    r"blocks\.\d+\.mlp\.(w12|w3|w[123]|weights_in|weights_out|fc1_g|fc1_x|gate.*|up_proj|down_proj)\..*": "has gated "
    "MLPs (SwiGLU); SAC-ViT's have one matrix on each side of a GELU",
    r"blocks\.\d+\.attn\.(proj_l|proj_w|reattn\w*|gating_param|pos_proj)(\..*)?": "mixes its attention maps, as CaiT's "
    "talking heads and ConViT's gates do",
    r"blocks\.\d+\.attns?\.\d+\..*|blocks\.\d+\.ffns?\.\d+\..*": "has several attentions in a block (parallel ViT)",
    r"blocks\.\d+\.in_proj\..*": "computes attention and MLP from one matrix (`in_proj`, a parallel block)",
    r"blocks\.\d+\.attn\.(pool_\w+|norm_pool\w*|sr|dwconv|conv\w*|lepe\w*)\..*|"
    r"blocks\.\d+\.(mlp\.)?(dwconv|conv|local_mp|cpe)\..*": "has convolutions or pooling inside its blocks",
    r"(blocks_token_only|cls_attn_blocks|post_network)\..*": "attends to its class token in blocks of their own, as "
    "CaiT does; SAC-ViT's is among the tokens from the first block",
    r"stages\..*|network\..*|levels\..*": "has convolutional stages or several resolutions",
    r"patch_embed\.(backbone|conv\w*|stem|proj\.\d+|norm|bn\w*|\d+)\..*|patch_embed\.proj\.\d+": "has a convolutional "
    "stem or a norm in its patch embedding; SAC-ViT's is one convolution",
    r"pooler\.layernorm\..*": "averages the patch tokens for its classifier (`pooler.layernorm`), as BEiT does; "
    "SAC-ViT classifies the class token",
    r"(blocks\.\d+\.norm\d?|norm|norm_pre)\.running_(mean|var)": "has batch norms in place of LayerNorm",
    r"(.*\.)?(detection_tokens|det_token)": "has detection tokens (YOLOS), which no classifier reads",
    r"(.*\.)?(prompt_embeddings|prompt_tokens|deep_prompt\w*|prompts?)(\..*)?": "has learned prompts among its tokens",
    r".*\.weight_(orig|[guv])|.*\.parametrizations\..*": "computes weights from others (weight norm, spectral norm or "
    "parametrize); make them plain with `torch.nn.utils.parametrize.remove_parametrizations` or `remove_weight_norm`",
}
ADAPTERS = re.compile(
    r"(.*\.)?(lora_\w+|base_layer|hada_w\w+|lokr_\w+|ia3_l|oft_\w+|vera_lambda\w*|linear_[ab]_[qkv]|adaptmlp|adapter\w*|"
    r"modules_to_save)(\..*)?"
)
NO_CLASS_TOKEN = (
    "has no class token (`cls_token`), whose attention chooses the targets of stage 2; take a model of the same family "
    "that classifies by its class token"
)
MEAN_POOLED = (
    "averages the patch tokens for its classifier (`fc_norm`, global_pool avg); SAC-ViT classifies the class token, "
    "whose attention chooses the targets of stage 2"
)


def refuse_foreign(
    weights: Mapping[str, Tensor], outside: Iterable[str] = (), pool: str | None = None, source: str | None = None
) -> None:
    """Raise CheckpointError for a network with a feature that SAC-ViT has no place for, by the feature's name.

    weights: under DeiT's names; outside: names beside the network. pool: how its settings say it classifies, `token` or
    `mean`; None where they are silent. source: who says so.
    """
    for table, names in ((REFUSED, [*weights, *outside]), (REFUSED_INSIDE, list(weights))):
        for pattern, reason in table.items():
            if any(re.fullmatch(pattern, name) for name in names):
                raise CheckpointError(f"this network {reason}")
    if "cls_token" not in weights:
        raise CheckpointError(f"this network {NO_CLASS_TOKEN}")
    if pool == "mean":
        said = f", by {source}," if source else ""
        raise CheckpointError(f"this network{said} {MEAN_POOLED}")
    if "fc_norm.weight" in weights and pool is None:
        raise CheckpointError(
            f"this network {MEAN_POOLED} (if it reads that token, a config.json with global_pool tells)"
        )
    if {"fc_norm.weight", "norm.weight"} <= set(weights):
        raise CheckpointError("this network has two norms before its classifier (`norm`, `fc_norm`); SAC-ViT has one")
    _refuse_shapes(weights)


def refuse_adapters(names: Iterable[str]) -> None:
    """Raise CheckpointError for weights that are only a change to a network's."""
    found = next((name for name in names if ADAPTERS.fullmatch(name)), None)
    if found is not None:
        raise CheckpointError(
            f"it holds an adapter (`{found}`), as LoRA and PEFT train them beside a network; merge it into the network "
            "first (PEFT: `merge_and_unload()`) and save that model's state_dict"
        )


def _refuse_shapes(weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for features that shapes alone show."""
    norms = [name for name in weights if re.fullmatch(r"(blocks\.\d+\.norm[12]|norm|norm_pre)\.weight", name)]
    if norms and not any(f"{name.removesuffix('weight')}bias" in weights for name in norms):
        raise CheckpointError("this network has norms without biases, as RMSNorm has; SAC-ViT's are LayerNorm")
    first, width = "blocks.0.mlp.fc1.weight", "patch_embed.proj.weight"
    matrices = {name: tuple(value.shape) for name, value in weights.items() if not value.is_nested and value.ndim == 2}
    for name, (rows, columns) in matrices.items():
        block = re.fullmatch(r"(blocks\.\d+\.)mlp\.fc1\.weight", name)
        inner = matrices.get(f"{block[1]}mlp.fc2.weight") if block else None
        if inner is not None and rows == 2 * inner[1]:
            raise CheckpointError(
                "this network has gated MLPs (SwiGLU or GEGLU, with both halves in `fc1`); SAC-ViT's have one matrix "
                "on each side of a GELU"
            )
        if inner is not None and first in matrices and rows != matrices[first][0] and inner == (columns, rows):
            raise CheckpointError(
                f"this network has MLPs of different widths (`{first}` {matrices[first][0]}, `{name}` {rows}), as "
                "pruned ones have; SAC-ViT's are all the same"
            )
        if re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", name) and rows != 3 * columns and width in weights:
            raise CheckpointError(
                f"this network's attention has {rows} rows in `{name}`, not 3 x {columns}: its heads are fewer or "
                "narrower than its width, or share keys and values; SAC-ViT's fill it"
            )
