"""The config: defaults, its JSON form, and what it refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.config import Geometry, Method, ModelConfig, Preprocessing
from sacvit_deploy.errors import UsageError

numbers = st.floats(-4, 4, allow_nan=False)
positive = st.floats(0.01, 4)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    patch, heads = draw(st.integers(1, 32)), draw(st.integers(1, 16))
    return Geometry(
        image_size=2 * patch * draw(st.integers(2, 12)),
        patch_size=patch,
        width=heads * draw(st.integers(1, 128)),
        depth=draw(st.integers(1, 24)),
        heads=heads,
        classes=draw(st.integers(1, 30000)),
        mlp_ratio=draw(st.sampled_from([1.0, 2.5, 4.0])),
    )


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    geometry = draw(geometries())
    method = Method(
        downsample=draw(st.sampled_from(["area", "bilinear_corners"])),
        positions=draw(st.sampled_from(["shared", "separate"])),
        score_first_block=draw(st.none() | st.integers(0, geometry.depth - 1)),
        score_beta=draw(st.floats(0, 0.999)),
        alpha=draw(st.integers(1, geometry.tokens - 1)) / geometry.tokens,
        rounding=draw(st.sampled_from(["floor", "ceil"])),
        fusion=draw(st.sampled_from(["repeat", "expand", "none"])),
        background=draw(st.sampled_from(["embeddings", "features"])),
        class_token=draw(st.sampled_from(["mean", "union"])),
        attention=draw(st.sampled_from(["clustered", "global"])),
    )
    preprocessing = Preprocessing(
        interpolation=draw(st.sampled_from(["bicubic", "bilinear"])),
        crop=draw(st.floats(0.1, 1.0)),
        mean=draw(st.tuples(numbers, numbers, numbers)),
        std=draw(st.tuples(positive, positive, positive)),
        resize=draw(st.sampled_from(["shortest_edge", "squash"])),
        resize_rounding=draw(st.sampled_from(["floor", "nearest"])),
    )
    return ModelConfig(geometry, method, preprocessing)


@given(config=configs())
def test_json_round_trip(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_defaults_are_the_papers() -> None:
    config = ModelConfig.from_dict({})
    assert config == ModelConfig()
    assert (config.geometry.grid, config.geometry.tokens) == (7, 49)
    assert (config.geometry.hidden, config.geometry.patch_values) == (1536, 768)
    assert config.score_first_block == 3
    method = config.method
    assert (method.downsample, method.positions, method.fusion, method.background) == (
        "area",
        "shared",
        "repeat",
        "embeddings",
    )
    assert (method.alpha, method.rounding, method.attention, method.class_token) == (0.5, "floor", "clustered", "mean")
    assert method.score_beta == 0.99


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"geometri": {}}, "geometri"),
        ({"geometry": {"image_sise": 224}}, "geometry.image_sise"),
        ({"method": {"pruning": True}}, "method.pruning"),
        ({"preprocessing": {"gamma": 2.2}}, "preprocessing.gamma"),
        ({"geometry": []}, "geometry must be an object"),
        ({"geometry": None}, "geometry must be an object"),
        ({"geometry": {"width": "384"}}, "geometry.width"),
        ({"geometry": {"width": 384.0}}, "geometry.width"),
        ({"geometry": {"depth": True}}, "geometry.depth"),
        ({"geometry": {"mlp_ratio": math.nan}}, "geometry.mlp_ratio"),
        ({"geometry": {"depth": 0}}, "depth must be positive"),
        ({"geometry": {"heads": -1}}, "heads must be positive"),
        ({"geometry": {"image_size": 240}}, "multiple of twice the patch size"),
        ({"geometry": {"image_size": 32}}, "nothing to select"),
        ({"geometry": {"width": 100}}, "does not divide"),
        ({"method": {"downsample": "nearest"}}, "downsample is 'nearest'"),
        ({"method": {"attention": 3}}, "method.attention"),
        ({"method": {"fusion": None}}, "method.fusion"),
        ({"method": {"alpha": 0}}, "alpha is 0"),
        ({"method": {"alpha": 1.0}}, "alpha is 1.0"),
        ({"method": {"alpha": math.nan}}, "method.alpha"),
        ({"method": {"alpha": 0.01}}, "at least 1"),
        ({"method": {"alpha": 0.99, "rounding": "ceil"}}, "at least 1"),
        ({"method": {"selection": "windows"}}, "selection is 'windows'; it must be one of top_m, window"),
        ({"method": {"selection": 3}}, "method.selection"),
        ({"method": {"region_size": 0}}, "region_size must be positive, not 0"),
        ({"method": {"region_size": 5.0}}, "method.region_size"),
        ({"method": {"selection": "window", "region_size": 8}}, "region_size 8 is more than the 7 low-res tokens"),
        ({"method": {"selection": "window", "alpha": 1.1}}, "alpha is 1.1"),
        ({"method": {"selection": "window", "alpha": 0.0}}, "alpha is 0.0"),
        ({"method": {"selection": "window", "alpha": 0.03}}, "selects 0 of 49"),
        ({"method": {"selection": "window", "region_size": 7, "alpha": 1.0}}, "leave at least 1"),
        ({"method": {"score_beta": 1.0}}, "score_beta is 1.0"),
        ({"method": {"score_first_block": 12}}, "outside the 12 blocks"),
        ({"method": {"score_first_block": -1}}, "outside the 12 blocks"),
        ({"method": {"score_first_block": 1.5}}, "score_first_block"),
        ({"preprocessing": {"interpolation": "lanczos"}}, "lanczos"),
        ({"preprocessing": {"resize": "longest_edge"}}, "unknown resize 'longest_edge'"),
        ({"preprocessing": {"resize_rounding": "ceil"}}, "unknown resize_rounding 'ceil'"),
        ({"preprocessing": {"crop": 0.0}}, "crop is 0"),
        ({"preprocessing": {"crop": 1.1}}, "crop is 1.1"),
        ({"preprocessing": {"mean": [0.5, 0.5]}}, "mean must be three"),
        ({"preprocessing": {"mean": 0.5}}, "preprocessing.mean"),
        ({"preprocessing": {"std": [0.5, 0.5, math.inf]}}, "preprocessing.std"),
        ({"preprocessing": {"std": [0.5, 0.0, 0.5]}}, "std must be positive"),
    ],
)
def test_unknown_fields_and_values_are_refused_by_name(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelConfig.from_dict(data)


def test_the_window_counts_only_where_it_is_used() -> None:
    small = Geometry(image_size=64)  # 2 x 2 tokens, fewer than the default window has
    assert ModelConfig(small).window is None
    config = ModelConfig(method=Method(selection="window", alpha=1.0))
    assert (config.window, config.num_targets(), config.num_targets(0.5)) == (25, 25, 12)
    assert config.to_dict()["method"]["selection"] == "window"
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UsageError, match="alpha is 1.0"):
        ModelConfig().num_targets(1.0)


def test_what_older_files_leave_out_means_what_it_meant() -> None:
    new = ModelConfig().to_dict()["preprocessing"]
    assert new["resize_rounding"] == "floor" and "resize" not in new
    old = {key: value for key, value in new.items() if key != "resize_rounding"}
    config = ModelConfig.from_dict({"preprocessing": old})
    assert config.preprocessing == Preprocessing(resize="shortest_edge", resize_rounding="nearest")
    assert config.to_dict()["preprocessing"] == old  # readers of older versions refuse fields that they don't know


def test_numbers_too_large_for_a_float_are_refused() -> None:
    with pytest.raises(UsageError, match="alpha"):
        ModelConfig.from_dict({"method": {"alpha": 10**400}})


def test_nan_in_python_is_refused_as_in_json() -> None:
    for build in (
        lambda: Method(alpha=math.nan),
        lambda: Method(score_beta=math.nan),
        lambda: Preprocessing(crop=math.nan),
        lambda: Preprocessing(std=(1.0, math.nan, 1.0)),
    ):
        with pytest.raises(UsageError):
            build()
