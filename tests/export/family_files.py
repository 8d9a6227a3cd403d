"""JSON exactly as timm and transformers write it beside their weights."""

from __future__ import annotations

import copy
from typing import Any

HALF = (0.5, 0.5, 0.5)
# Written by timm 1.0 (`save_for_hf`) for vit_tiny_patch16_224 with 5 classes, img_size=96 and global_pool="avg".
TIMM: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "num_classes": 5,
    "num_features": 192,
    "global_pool": "avg",
    "label_names": ["n1", "n2", "n3", "n4", "n5"],
    "label_descriptions": {"n1": "dog", "n2": "cat", "n3": "crane", "n4": "crane", "n5": "owl"},
    "model_args": {"num_classes": 5, "img_size": [96, 96], "global_pool": "avg", "in_chans": 3},
    "pretrained_cfg": {
        "tag": "augreg_in21k_ft_in1k",
        "custom_load": False,
        "input_size": [3, 96, 96],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 5,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "apache-2.0",
    },
}
# Written by timm 0.5, whose files have no pretrained_cfg.
OLD_TIMM: dict[str, Any] = {
    "num_classes": 3,
    "input_size": [3, 384, 384],
    "pool_size": None,
    "crop_pct": 1.0,
    "interpolation": "bilinear",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "first_conv": "patch_embed.proj",
    "classifier": "head",
    "architecture": "vit_small_patch16_384",
    "labels": ["cat", "dog", "owl"],
}
# Written by transformers 5 (`save_pretrained`).
VIT: dict[str, Any] = {
    "architectures": ["ViTForImageClassification"],
    "attention_probs_dropout_prob": 0.0,
    "dtype": "float32",
    "encoder_stride": 16,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 768,
    "id2label": {"0": "tench", "1": "goldfish", "2": "shark"},
    "image_size": 224,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "label2id": {"goldfish": 1, "shark": 2, "tench": 0},
    "layer_norm_eps": 1e-12,
    "model_type": "vit",
    "num_attention_heads": 12,
    "num_channels": 3,
    "num_hidden_layers": 12,
    "patch_size": 16,
    "pooler_act": "tanh",
    "pooler_output_size": 768,
    "qkv_bias": True,
    "transformers_version": "5.24.0",
}
VIT_PROCESSOR: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.5, 0.5],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 224, "width": 224},
}
DEIT_PROCESSOR: dict[str, Any] = {
    **VIT_PROCESSOR,
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "image_processor_type": "DeiTImageProcessor",
    "resample": 3,
    "size": {"height": 256, "width": 256},
}
BIT_PROCESSOR: dict[str, Any] = {
    **DEIT_PROCESSOR,
    "do_convert_rgb": True,
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 256},
}
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


def changed(data: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Copy a file's content with other fields; `a__b` is field b of object a; ... removes a field."""
    data = copy.deepcopy(data)
    for path, value in fields.items():
        *places, name = path.split("__")
        inner = data
        for place in places:
            inner = inner[place]
        if value is ...:
            del inner[name]
        else:
            inner[name] = value
    return data
