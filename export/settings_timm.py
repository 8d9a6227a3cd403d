"""timm's config.json, as its `save_for_hf` and `push_to_hf_hub` write it, and as older files have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.architectures import said_by_name
from sacvit_deploy.export.settings_fields import Section, Settings, labels_in

MARKS = ("pretrained_cfg", "architecture", "crop_pct", "input_size", "label_names")
INTERPOLATIONS = {"bicubic": "bicubic", "bilinear": "bilinear"}
CROP_MODES = {"center": "shortest_edge", "squash": "squash"}
POOLS: dict[str, Literal["token", "mean"]] = {"token": "token", "avg": "mean"}
NETWORKS = ("vit", "deit", "beit", "eva", "dino")  # parts of the names of architectures with weights like DeiT's


def is_timm(data: Mapping[str, Any]) -> bool:
    """Tell timm's config.json from others."""
    return any(mark in data for mark in MARKS)


def read_timm(name: str, data: Mapping[str, Any]) -> Settings:
    """Read a config.json that timm wrote. Raises CheckpointError that names the file and the field."""
    top = Section(f"{name}: ", data)
    # Files of timm 0.5 have the fields of pretrained_cfg at the top.
    trained = top.section("pretrained_cfg") if data.get("pretrained_cfg") is not None else top
    given = top.section("model_args")
    architecture = top.text("architecture") or trained.text("architecture") or ""
    if architecture and not any(word in architecture.lower() for word in NETWORKS):
        raise CheckpointError(
            f"{name}: architecture is {architecture!r}, no ViT; if it is of another model than the weights, keep them "
            "in another folder"
        )
    # 0 is the number of classes of a model without a classifier.
    counts = [section.size("num_classes") for section in (top, given, trained) if section.data.get("num_classes") != 0]
    classes = next((count for count in counts if count is not None), None)
    labels, notes = labels_in(name, data, classes)
    width = given.size("embed_dim") or top.size("num_features")
    ratio = given.number("mlp_ratio")
    named = said_by_name(architecture)
    pool = top.text("global_pool") or given.text("global_pool")
    if pool is not None and pool not in POOLS:
        raise CheckpointError(f"{name}: global_pool is {pool!r}; only token and avg can be served")
    return Settings(
        mean=trained.triple("mean"),
        std=trained.triple("std", positive=True),
        crop=trained.share("crop_pct"),
        interpolation=trained.choice("interpolation", INTERPOLATIONS),
        resize=trained.choice("crop_mode", CROP_MODES) or "shortest_edge",  # timm's default, and once its only one
        labels=labels,
        image_size=given.square("img_size") or trained.square("input_size"),
        patch_size=given.square("patch_size"),
        width=width,
        depth=given.size("depth"),
        heads=given.size("num_heads"),
        classes=classes,
        hidden=round(width * ratio) if width and ratio else None,
        norm_eps=named.norm_eps,
        pool=POOLS[pool] if pool else None,
        activation=given.text("act_layer") or named.activation,
        rotary=named.rotary,
        notes=notes,
    )
