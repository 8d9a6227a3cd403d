"""timm's config.json."""

from __future__ import annotations

from typing import Any

import pytest

from sacvit_deploy.export.settings import read_settings

from .family_files import CONFIG, HALF, OLD_TIMM, TIMM, changed


def test_timm() -> None:
    settings = read_settings({CONFIG: TIMM}, {})
    assert settings.said() == {
        "mean": HALF,
        "std": HALF,
        "crop": 0.9,
        "interpolation": "bicubic",
        "resize": "shortest_edge",
        "labels": ("dog", "cat", "crane (n3)", "crane (n4)", "owl"),
        "image_size": 96,
        "width": 192,
        "classes": 5,
        "pool": "mean",
    }
    assert set(settings.sources.values()) == {CONFIG} and settings.sources.keys() == settings.said().keys()
    assert settings.notes == ()


def test_old_timm() -> None:
    settings = read_settings({CONFIG: OLD_TIMM}, {})
    assert (settings.mean, settings.crop, settings.interpolation) == ((0.485, 0.456, 0.406), 1.0, "bilinear")
    assert (settings.resize, settings.image_size, settings.classes) == ("shortest_edge", 384, 3)
    assert settings.labels == ("cat", "dog", "owl") and settings.pool is None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"global_pool": "token"}, {"pool": "token"}),
        ({"pretrained_cfg__crop_mode": "squash"}, {"resize": "squash"}),
        ({"model_args__embed_dim": 64, "model_args__mlp_ratio": 2.5}, {"width": 64, "hidden": 160}),
        ({"model_args__depth": 3, "model_args__num_heads": 4}, {"depth": 3, "heads": 4}),
        ({"model_args__patch_size": 8, "model_args__img_size": 64}, {"patch_size": 8, "image_size": 64}),
        ({"model_args__act_layer": "relu"}, {"activation": "relu"}),
        ({"architecture": "vit_base_patch32_clip_quickgelu_224"}, {"norm_eps": 1e-5, "activation": "quick_gelu"}),
        ({"architecture": "vit_base_patch32_siglip_gap_256"}, {"norm_eps": None, "activation": "gelu_tanh"}),
        ({"architecture": "vit_base_patch16_siglip_gap_256"}, {"norm_eps": None, "activation": None}),
        ({"num_classes": 0, "pretrained_cfg__num_classes": 0, "model_args__num_classes": 0}, {"classes": None}),
        ({"label_names": ...}, {"labels": None}),
        ({"label_descriptions": ...}, {"labels": ("n1", "n2", "n3", "n4", "n5")}),
    ],
)
def test_fields_of_timm(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    settings = read_settings({CONFIG: changed(TIMM, **fields)}, {})
    assert {name: getattr(settings, name) for name in expected} == expected
