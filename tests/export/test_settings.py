"""Several files of a checkpoint together; what is refused, overruled by flags, or contradicts the weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.overrides import Overrides
from sacvit_deploy.export.settings import Settings, contradictions, read_settings

from .family_files import (
    CONFIG,
    DEIT_PROCESSOR,
    HALF,
    OLD_TIMM,
    PROCESSOR,
    TIMM,
    VIT,
    VIT_PROCESSOR,
    changed,
)


def test_nothing_says_nothing() -> None:
    assert read_settings({}, {}) == Settings()
    assert read_settings({}, {"model": {}, "epoch": 3, "args": argparse.Namespace(lr=0.1, mean=None)}).said() == {}


def test_a_config_of_something_else() -> None:
    settings = read_settings({CONFIG: {"lr": 0.1}}, {})
    assert settings.said() == {} and "neither timm's nor transformers'" in settings.notes[0]


BAD: list[tuple[str, dict[str, Any], str]] = [
    (CONFIG, changed(TIMM, pretrained_cfg__std=[0.5, 0, 0.5]), r"config.json: pretrained_cfg.std .* above 0.*--std"),
    (CONFIG, changed(TIMM, pretrained_cfg__std=[0.5, -1, 0.5]), "three numbers above 0"),
    (CONFIG, changed(TIMM, pretrained_cfg__mean=[0.5]), r"pretrained_cfg.mean is \[0.5\].*each channel.*--mean"),
    (CONFIG, changed(TIMM, pretrained_cfg__mean=0.5), "mean is 0.5"),
    (CONFIG, changed(TIMM, pretrained_cfg__mean=[0.5, 0.5, float("nan")]), "three finite numbers"),
    (CONFIG, changed(TIMM, pretrained_cfg__mean=["0.5", "0.5", "0.5"]), "three numbers"),
    (
        CONFIG,
        changed(TIMM, pretrained_cfg__mean=[123.675, 116.28, 103.53]),
        "pixels from 0 to 1; divide by 255, .*: 0.485,0.456,0.406, or say --mean",
    ),
    (
        PROCESSOR,
        changed(VIT_PROCESSOR, image_std=[58.395, 57.12, 57.375]),
        "255, .*: 0.229,0.224,0.225, or say --std",
    ),
    (CONFIG, changed(TIMM, pretrained_cfg__crop_pct=1.5), "crop_pct is 1.5; it should be between 0.1 and 1.*--crop"),
    (CONFIG, changed(TIMM, pretrained_cfg__crop_pct="0.9"), "crop_pct is '0.9'"),
    (
        CONFIG,
        changed(TIMM, pretrained_cfg__crop_mode="border"),
        r"crop_mode is 'border'; it should be center \(shortest_edge\) or squash",
    ),
    (CONFIG, changed(TIMM, pretrained_cfg__interpolation="lanczos"), "bicubic or bilinear, or say --interpolation"),
    (
        CONFIG,
        changed(TIMM, model_args={}, pretrained_cfg__input_size=[1, 28, 28]),
        "input_size is .* three channels of a square",
    ),
    (CONFIG, changed(TIMM, model_args__img_size=[96, 128]), "img_size is .* three channels of a square"),
    (CONFIG, changed(TIMM, pretrained_cfg=[]), "config.json: pretrained_cfg is .*; it should be an object"),
    (CONFIG, changed(TIMM, global_pool="map"), "global_pool is 'map'; only token and avg"),
    (CONFIG, changed(TIMM, num_classes=6), "names 5 classes, but says that there are 6; .* --labels"),
    (CONFIG, changed(TIMM, label_names=["a", "b", "", "d", "e"]), "config.json: the name of class 2 is empty"),
    (CONFIG, changed(TIMM, label_names={"0": "a", "2": "b"}), "config.json: 2 classes .* none has the number 1"),
    (CONFIG, changed(VIT, id2label={"0": "a", "2": "b"}), "config.json: 2 classes .* none has the number 1"),
    (CONFIG, changed(VIT, num_labels=2), "names 3 classes, but says that there are 2; .* --labels"),
    (CONFIG, changed(VIT, model_type="swin"), "model_type is 'swin', which has windows .*; of .* vit, deit"),
    (CONFIG, changed(VIT, problem_type="multi_label_classification"), "problem_type is 'multi_label_classification'"),
    (CONFIG, changed(VIT, problem_type="regression"), "problem_type is 'regression'; SAC-ViT answers with one class"),
    (
        CONFIG,
        changed(TIMM, architecture="resnet50"),
        "architecture is 'resnet50', no ViT; .* keep them in another folder",
    ),
    (CONFIG, changed(VIT, hidden_size=10**400), "hidden_size is 1000.*; it should be a whole number above 0"),
    (CONFIG, changed(VIT, layer_norm_eps=10**5000), "layer_norm_eps is a int; it should be a finite number"),
    (PROCESSOR, changed(DEIT_PROCESSOR, size=10**400), "size is 1000.*; it should be a whole number"),
    (
        PROCESSOR,
        changed(VIT_PROCESSOR, rescale_factor=10**400),
        "rescale_factor is 1000.*; it should be a finite number",
    ),
    (CONFIG, changed(VIT, use_swiglu_ffn=True), "no SwiGLU"),
    (CONFIG, changed(VIT, hidden_size="768"), "config.json: hidden_size is '768'; it should be a whole number above 0"),
    (CONFIG, changed(VIT, layer_norm_eps="small"), "layer_norm_eps is 'small'; it should be a finite number"),
    (PROCESSOR, changed(VIT_PROCESSOR, image_std=[0, 0, 0]), "preprocessor_config.json: image_std .* --std"),
    (
        PROCESSOR,
        changed(VIT_PROCESSOR, resample=1),
        r"resample is 1; it should be 2 \(bilinear\) or 3 \(bicubic\), or say --interpolation",
    ),
    (PROCESSOR, changed(VIT_PROCESSOR, rescale_factor=1.0), "rescale_factor is 1 and not 1/255.*say --mean and --std"),
    (
        PROCESSOR,
        changed(VIT_PROCESSOR, do_flip_channel_order=True),
        "do_flip_channel_order is true: its images are BGR",
    ),
    (PROCESSOR, changed(VIT_PROCESSOR, rescale_offset=True), "rescale_offset is true: its pixels are moved"),
    (PROCESSOR, changed(VIT_PROCESSOR, do_rescale=False), "do_rescale is false.*say --mean and --std"),
    (PROCESSOR, changed(VIT_PROCESSOR, do_resize="yes"), "do_resize is 'yes'; it should be true or false"),
    (PROCESSOR, changed(VIT_PROCESSOR, size={"height": 224, "width": 448}), "size is .*; it should be a square"),
    (PROCESSOR, changed(VIT_PROCESSOR, size={"shortest_edge": 224, "longest_edge": 448}), "longest_edge"),
    (
        PROCESSOR,
        changed(DEIT_PROCESSOR, crop_size={"height": 300, "width": 300}),
        "crop_size is 300, more than size's 256",
    ),
    (PROCESSOR, changed(DEIT_PROCESSOR, crop_size={"height": 20, "width": 20}), "less than a tenth"),
]


@pytest.mark.parametrize(("name", "data", "match"), BAD)
def test_what_is_refused(name: str, data: dict[str, Any], match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as refused:
        read_settings({name: data}, {})
    assert name in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_no_object() -> None:
    with pytest.raises(CheckpointError, match="config.json holds a list, not an object"):
        read_settings({CONFIG: []}, {})


@pytest.mark.parametrize(
    ("overrides", "name", "data"),
    [
        (Overrides(std=HALF), CONFIG, changed(TIMM, pretrained_cfg__std=[0, 0, 0])),
        (Overrides(mean=HALF), CONFIG, changed(TIMM, pretrained_cfg__mean=[0.5])),
        (Overrides(crop=1.0), CONFIG, changed(OLD_TIMM, crop_pct=2)),
        (Overrides(interpolation="bicubic"), PROCESSOR, changed(VIT_PROCESSOR, resample=1)),
        (Overrides(labels=Path("names.txt")), CONFIG, changed(TIMM, label_names=["a"])),
        (Overrides(labels=Path("names.txt")), CONFIG, changed(VIT, num_labels=7)),
        (Overrides(labels=Path("names.txt")), CONFIG, changed(VIT, id2label={"0": "a", "2": "b"})),
    ],
)
def test_a_flag_overrules_what_would_be_refused(overrides: Overrides, name: str, data: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        read_settings({name: data}, {})
    said = read_settings({name: data}, {}, overrides).said()
    assert said.keys().isdisjoint(key for key, value in vars(overrides).items() if value is not None)


def test_a_file_goes_before_the_checkpoint() -> None:
    inside = {"args": {"mean": [0.1] * 3, "crop_pct": 0.5}, "classes": ["a", "b", "c"]}
    settings = read_settings({CONFIG: VIT, PROCESSOR: changed(VIT_PROCESSOR, size=..., do_center_crop=None)}, inside)
    assert (settings.mean, settings.crop, settings.labels) == (HALF, 0.5, ("tench", "goldfish", "shark"))
    assert (settings.sources["mean"], settings.sources["crop"]) == (PROCESSOR, "the checkpoint's args")


SIZES = {"image_size": 224, "patch_size": 16, "width": 768, "depth": 12, "heads": 12, "classes": 3, "hidden": 3072}


def test_files_that_fit_the_weights() -> None:
    contradictions(read_settings({CONFIG: VIT}, {}), SIZES)
    contradictions(Settings(), SIZES)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"image_size": 256}, "config.json says image_size 256, the weights have 224"),
        ({"patch_size": 32}, "patch_size 32, the weights have 16"),
        ({"hidden_size": 384}, "width 384, the weights have 768"),
        ({"num_hidden_layers": 11}, "depth 11, the weights have 12"),
        ({"num_attention_heads": 6}, "heads 6, the weights have 12"),
        ({"num_attention_heads": 5}, "heads 5, which don't divide the weights' width 768"),
        ({"intermediate_size": 768}, "hidden 768, the weights have 3072"),
        ({"id2label": {"0": "a", "1": "b"}}, "classes 2, the weights have 3: .*, or give the names with --labels"),
    ],
)
def test_files_that_contradict_the_weights(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        contradictions(read_settings({CONFIG: changed(VIT, **fields)}, {}), SIZES)
