"""transformers' config.json and preprocessor_config.json."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.export.settings import read_settings

from .family_files import BIT_PROCESSOR, CONFIG, DEIT_PROCESSOR, HALF, PROCESSOR, VIT, VIT_PROCESSOR, changed


def test_transformers() -> None:
    settings = read_settings({CONFIG: VIT, PROCESSOR: VIT_PROCESSOR}, {})
    assert settings.said() == {
        "mean": HALF,
        "std": HALF,
        "crop": 1.0,
        "interpolation": "bilinear",
        "resize": "squash",
        "labels": ("tench", "goldfish", "shark"),
        "image_size": 224,
        "patch_size": 16,
        "width": 768,
        "depth": 12,
        "heads": 12,
        "classes": 3,
        "hidden": 3072,
        "norm_eps": 1e-12,
        "pool": "token",
        "activation": "gelu",
        "reads_pooler": False,
    }
    assert settings.sources["mean"] == PROCESSOR and settings.sources["labels"] == CONFIG
    assert settings.notes == ()


def test_dinov2_has_a_ratio_and_a_classifier_of_its_own() -> None:
    data = changed(VIT, model_type="dinov2", mlp_ratio=4, intermediate_size=..., patch_size=14, layer_norm_eps=1e-6)
    settings = read_settings({CONFIG: data}, {})
    assert (settings.hidden, settings.pool, settings.norm_eps) == (3072, None, 1e-6)


def test_placeholders_are_no_names() -> None:
    data = changed(VIT, id2label={f"{n}": f"LABEL_{n}" for n in range(4)}, label2id={f"LABEL_{n}": n for n in range(4)})
    settings = read_settings({CONFIG: data}, {})
    assert (settings.labels, settings.classes) == (None, 4)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DEIT_PROCESSOR, (0.875, "squash", "bicubic")),
        (BIT_PROCESSOR, (0.875, "shortest_edge", "bicubic")),
        (changed(VIT_PROCESSOR, size=224), (1.0, "squash", "bilinear")),
        (changed(VIT_PROCESSOR, size=224, image_processor_type=..., feature_extractor_type="ViTFeatureExtractor"),
         (1.0, "squash", "bilinear")),
        (changed(BIT_PROCESSOR, size=256, crop_size=224), (0.875, "shortest_edge", "bicubic")),
        (changed(DEIT_PROCESSOR, size=256, crop_size=224), (0.875, "squash", "bicubic")),
        (changed(DEIT_PROCESSOR, do_center_crop=False, size={"height": 224, "width": 224}), (1.0, "squash", "bicubic")),
    ],
)  # fmt: skip
def test_sizes_of_processors(data: dict[str, Any], expected: tuple[float, str, str]) -> None:
    settings = read_settings({CONFIG: VIT, PROCESSOR: data}, {})
    assert (settings.crop, settings.resize, settings.interpolation) == expected
    assert settings.notes == ()


def test_a_processor_among_others() -> None:
    settings = read_settings({"processor_config.json": {"image_processor": BIT_PROCESSOR}}, {})
    assert settings.resize == "shortest_edge" and settings.sources["crop"] == "processor_config.json"


@given(st.integers(16, 600), st.integers(0, 400))
def test_the_crop_gives_the_processors_size_back(cut: int, more: int) -> None:
    side = min(cut + more, 10 * cut)
    data = changed(BIT_PROCESSOR, size={"shortest_edge": side}, crop_size={"height": cut, "width": cut})
    crop = read_settings({PROCESSOR: data}, {}).crop
    assert crop is not None and math.floor(cut / crop) == side and crop == pytest.approx(cut / side)


def test_without_normalisation() -> None:
    settings = read_settings({PROCESSOR: changed(VIT_PROCESSOR, do_normalize=False)}, {})
    assert (settings.mean, settings.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (changed(VIT_PROCESSOR, do_resize=False), "do_resize is false"),
        (changed(VIT_PROCESSOR, do_pad=True), "do_pad is true, while the runtime pads nothing"),
        (
            {"size": {"shortest_edge": 224}},
            "no crop is named, which leaves pictures oblong",
        ),
        (changed(BIT_PROCESSOR, do_center_crop=False, size={"shortest_edge": 224}), "leaves pictures oblong"),
        (
            changed(VIT_PROCESSOR, image_processor_type="LevitImageProcessor"),
            "LevitImageProcessor, which is read as if it were ViTImageProcessor; where",
        ),
        (changed(BIT_PROCESSOR, size={"shortest_edge": 432}, crop_size=378), "378 pixels, while .* image_size is 224"),
    ],
)
def test_what_is_taken_with_a_note(data: dict[str, Any], match: str) -> None:
    settings = read_settings({CONFIG: VIT, PROCESSOR: data}, {})
    assert len(settings.notes) == 1
    assert re.search(match, settings.notes[0])
