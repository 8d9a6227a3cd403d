"""config.json of transformers' image classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.settings_fields import Section, Settings, labels_in

MARKS = ("model_type", "id2label", "hidden_size")
# Of other types the weights may have the same names, while the arithmetic is another.
TYPES = ("vit", "deit", "dinov2", "dinov2_with_registers", "vit_msn")
# What the best known of the others compute that SAC-ViT does not.
FEATURES = {
    "dinov3_vit": "rotary positions",
    "eva02": "rotary positions",
    "beit": "relative position biases and the mean of the patches",
    "data2vec-vision": "relative position biases and the mean of the patches",
    "swin": "windows of tokens at several resolutions",
    "swinv2": "windows of tokens at several resolutions",
    "clip": "a text tower and quick_gelu",
    "siglip": "a text tower, pooling by attention and GELU's approximation by tanh",
    "vit_mae": "a decoder and no classifier",
    "yolos": "detection tokens",
    "ijepa": "no class token",
}
CLASS_TOKEN = ("vit", "deit", "vit_msn")  # DINOv2's classifier sees the mean of the patches beside it
PROBLEMS = (None, "single_label_classification")  # of others the answers are no shares of one


def is_transformers(data: Mapping[str, Any]) -> bool:
    """Tell transformers' config.json from others."""
    return any(mark in data for mark in MARKS)


def read_config(name: str, data: Mapping[str, Any]) -> Settings:
    """Read a config.json that transformers wrote. Raises CheckpointError that names the file and the field."""
    top = Section(f"{name}: ", data)
    kind = top.text("model_type")
    if kind is not None and kind not in TYPES:
        what = f", which has {FEATURES[kind]}" if kind in FEATURES else ""
        raise CheckpointError(
            f"{name}: model_type is {kind!r}{what}; of transformers' models {', '.join(TYPES)} can be used; if {name} "
            "is of another model than the weights, keep them in another folder"
        )
    if top.flag("use_swiglu_ffn", False):
        raise CheckpointError(f"{name}: use_swiglu_ffn is true; SAC-ViT has no SwiGLU")
    problem = top.text("problem_type")
    if problem not in PROBLEMS:
        raise CheckpointError(
            f"{name}: problem_type is {problem!r}; SAC-ViT answers with one class, so its softmax and its exit would "
            "be wrong for this model"
        )
    width, ratio = top.size("hidden_size"), top.number("mlp_ratio")
    hidden = top.size("intermediate_size") or (round(width * ratio) if width and ratio else None)
    counted = top.size("num_labels")
    labels, notes = labels_in(name, {key: data[key] for key in ("id2label", "label2id") if data.get(key)}, counted)
    if labels is not None and all(label == f"LABEL_{number}" for number, label in enumerate(labels)):
        counted, labels = len(labels), None  # what transformers writes where nobody named the classes
    return Settings(
        labels=labels,
        image_size=top.square("image_size"),
        patch_size=top.square("patch_size"),
        width=width,
        depth=top.size("num_hidden_layers"),
        heads=top.size("num_attention_heads"),
        classes=len(labels) if labels else counted,
        hidden=hidden,
        norm_eps=top.number("layer_norm_eps"),
        pool="token" if kind in CLASS_TOKEN else None,
        activation=top.text("hidden_act"),
        reads_pooler=False if _classifies(data.get("architectures")) else None,
        notes=notes,
    )


def _classifies(architectures: Any) -> bool:
    """Tell transformers' own classifiers, which leave the pooler away, from a body that somebody built upon."""
    return isinstance(architectures, list) and any(
        str(name).endswith("ForImageClassification") for name in architectures
    )
