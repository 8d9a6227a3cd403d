"""Networks of other kinds, told by their weights' names where no vision transformer of a known layout is found."""

from __future__ import annotations

import re
from collections.abc import Iterable

RENAME = "rename its weights as timm's VisionTransformer has them"
OPTIMISER = "the state of an optimiser, without a network's weights"
# What it is, with the way out where there is one, and the names that tell it; the first that fits counts.
KINDS = (
    (
        "a network with a convolutional stem or several patch embeddings; SAC-ViT's is one convolution",
        r"(.*\.)?patch_embed\.(proj\.\d+|conv\w*|stem|backbone|\d+)\..*|(.*\.)?patch_embed(s|\d+)\..*",
    ),
    (
        "a network whose patch embedding is computed from other weights; make it plain with "
        "`torch.nn.utils.parametrize.remove_parametrizations`",
        r"(.*\.)?patch_embed\.proj\.(parametrizations\..*|weight_\w+)",
    ),
    (
        "the image tower of a CLIP or SigLIP in its own layout; timm has such with a classifier, as `vit_*_clip_*`",
        r"(.*\.)?visual\.(conv1|transformer|trunk)\..*|(.*\.)?vision_model\..*",
    ),
    (f"torchvision's VisionTransformer, whose names are its own; {RENAME}", r"(.*\.)?conv_proj\.(weight|bias)"),
    (f"a vit-pytorch network, whose names are its own; {RENAME}", r"(.*\.)?to_patch_embedding\..*"),
    ("a language model", r"(.*\.)?(embed_tokens|lm_head|word_embeddings)\..*"),
    (
        "a convolutional network; SAC-ViT is made of a vision transformer",
        r"(.*\.)?(layer\d\.\d+\.conv\d|conv1|bn1|stem|stages|features\.\d+)\..*",
    ),
)


def stranger(names: Iterable[str]) -> str | None:
    """Return what a network with these names is; None where they tell nothing.

    names: without those of an optimiser's moments, so there may be none.
    """
    names = list(names)
    if not names:
        return OPTIMISER
    return next((kind for kind, pattern in KINDS if any(re.fullmatch(pattern, name) for name in names)), None)
