"""Removal of what wrappers such as FSDP and torch.compile put into the middle of weights' names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

# Parts of names that the known layouts have: each names a layer, even where it stands alone below its parent.
LAYERS = {
    "patch_embed",
    "proj",
    "blocks",
    "attn",
    "qkv",
    "mlp",
    "fc1",
    "fc2",
    "norm",
    "norm1",
    "norm2",
    "norm_pre",
    "fc_norm",
    "ls1",
    "ls2",
    "q_norm",
    "k_norm",
    "head",
    "head_dist",
    "aux_head",
    "attn_pool",
    "pre_logits",
    "reuse_block",
    "pos_embed_list",
    "embeddings",
    "patch_embeddings",
    "projection",
    "encoder",
    "layer",
    "layers",
    "layernorm",
    "layernorm_before",
    "layernorm_after",
    "attention",
    "query",
    "key",
    "value",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "intermediate",
    "output",
    "dense",
    "layer_scale1",
    "layer_scale2",
    "pooler",
    "classifier",
}


def unwrap(names: Iterable[str], home: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return each dotted name without the parts in its middle that tell nothing apart, such as `_orig_mod`.

    Such a part is the only one below its parent and names no layer. No two names become one: what was below the part
    moves up, where nothing else was. What all names begin with stays, and so does the beginning in `home`.
    """
    home = home or {}
    names = list(names)
    below: dict[str, set[str]] = defaultdict(set)
    for name in names:
        parts = name.split(".")
        for at, part in enumerate(parts):
            below[".".join(parts[:at])].add(part)
    out = {}
    for name in names:
        parts, kept, forked = name.split("."), [], False
        fixed = home.get(name, "").count(".")
        for at, part in enumerate(parts):
            alone = len(below[".".join(parts[:at])]) == 1
            forked = forked or not alone
            inside = fixed <= at < len(parts) - 1
            if not (forked and alone and inside and part not in LAYERS and not part.isdigit()):
                kept.append(part)
        out[name] = ".".join(kept)
    return out
