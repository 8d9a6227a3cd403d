"""What transformers' image processors do where their file is silent, and other pixels than those from 0 to 1."""

from __future__ import annotations

from typing import Any

import pytest

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.overrides import Overrides
from sacvit_deploy.export.settings import read_settings

from .family_files import CONFIG, DEIT_PROCESSOR, HALF, PROCESSOR, VIT, VIT_PROCESSOR, changed

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
# As transformers 4.57 has them: mean, crop, resize, interpolation of a processor made without arguments.
DEFAULTS = {
    "ViTImageProcessor": (HALF, 1.0, "squash", "bilinear"),
    "ViTImageProcessorFast": (HALF, 1.0, "squash", "bilinear"),
    "DeiTImageProcessor": (HALF, 0.875, "squash", "bicubic"),
    "BitImageProcessor": (CLIP_MEAN, 1.0, "shortest_edge", "bicubic"),
    "CLIPImageProcessor": (CLIP_MEAN, 1.0, "shortest_edge", "bicubic"),
    "ConvNextImageProcessor": (HALF, 1.0, "squash", "bicubic"),
}


@pytest.mark.parametrize("kind", DEFAULTS)
def test_a_file_with_nothing_but_its_type(kind: str) -> None:
    settings = read_settings({PROCESSOR: {"image_processor_type": kind}}, {})
    assert (settings.mean, settings.crop, settings.resize, settings.interpolation) == DEFAULTS[kind]
    assert set(settings.sources.values()) == {f"what {kind} does by default"}


def test_releases_that_differ_are_no_default() -> None:
    for kind in ("DeiTFeatureExtractor", "ConvNextFeatureExtractor"):
        settings = read_settings({PROCESSOR: {"feature_extractor_type": kind}}, {})
        assert settings.mean is None and settings.std is None and settings.interpolation == "bicubic"


def test_the_model_names_the_processor_where_the_file_does_not() -> None:
    settings = read_settings({CONFIG: changed(VIT, model_type="deit"), PROCESSOR: {"image_mean": [0.1] * 3}}, {})
    assert (settings.mean, settings.std, settings.crop) == ((0.1,) * 3, HALF, 0.875)
    assert settings.sources["mean"] == PROCESSOR
    assert settings.sources["std"] == "what DeiTImageProcessor does by default"
    assert read_settings({PROCESSOR: {"do_resize": True}}, {}).said() == {}


def test_what_the_checkpoint_says_goes_before_a_default() -> None:
    inside = {"args": {"crop_pct": 0.5, "interpolation": "bilinear", "mean": [0.1] * 3}}
    settings = read_settings({PROCESSOR: {"image_processor_type": "DeiTImageProcessor"}}, inside)
    assert (settings.crop, settings.interpolation, settings.mean, settings.std) == (0.5, "bilinear", (0.1,) * 3, HALF)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"size": {"shortest_edge": 224}}, (0.875, "shortest_edge")),
        ({"size": {"shortest_edge": 256}, "crop_pct": 0.95}, (0.95, "shortest_edge")),
        ({"size": 224, "crop_pct": None}, (0.875, "shortest_edge")),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.95}, (1.0, "squash")),
    ],
)
def test_convnexts_processor_cuts_small_images_and_squashes_large(fields: Any, expected: Any) -> None:
    settings = read_settings({PROCESSOR: {"image_processor_type": "ConvNextImageProcessor", **fields}}, {})
    assert (settings.crop, settings.resize) == expected


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"do_rescale": False, "image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375]},
         "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1, 1, 1], "image_std": [1, 1, 1]},
         "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"),
        ({"do_rescale": False, "do_normalize": False}, "--mean 0,0,0 --std 0.00392157,0.00392157,0.00392157"),
    ],
)  # fmt: skip
def test_other_pixels_are_refused_with_the_flags_that_do_the_same(fields: dict[str, Any], flags: str) -> None:
    files = {PROCESSOR: {**VIT_PROCESSOR, **fields}}
    with pytest.raises(CheckpointError, match=f"{flags}$"):
        read_settings(files, {})
    settings = read_settings(files, {}, Overrides(mean=HALF, std=HALF))
    assert settings.crop == 1.0 and settings.mean is None  # with the flags the rest is read


def test_a_crop_flag_rescues_what_the_file_says_of_its_crop() -> None:
    for fields in ({"crop_size": 300}, {"crop_size": 20}, {"crop_size": {"height": 1, "width": 2}}):
        files = {PROCESSOR: {**DEIT_PROCESSOR, **fields}}
        with pytest.raises(CheckpointError):
            read_settings(files, {})
        assert read_settings(files, {}, Overrides(crop=0.9)).resize == "squash"
