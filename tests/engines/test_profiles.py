"""Shape ranges of the profiles, against the shapes that the runtime really passes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.engines.profiles import ShapeRange, SizeRange, input_ranges, target_range
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import build_request

from .conftest import tiny

BATCH = SizeRange(1, 8, 32)


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    grid, patch = draw(st.integers(2, 9)), draw(st.sampled_from([4, 8, 16]))
    width = draw(st.sampled_from([32, 64]))
    tokens = grid**2
    alpha = draw(st.floats(1 / tokens, 1 - 1.001 / tokens))
    rounding = draw(st.sampled_from(["floor", "ceil"]))
    geometry = Geometry(2 * grid * patch, patch, width, depth=1, heads=1, classes=3)
    return ModelConfig(geometry, Method(alpha=alpha, rounding=rounding))


sizes = st.tuples(*[st.integers(1, 20)] * 3).map(lambda drawn: SizeRange(*sorted(drawn)))


@given(configs(), sizes)
def test_ranges_are_in_order_and_closed_dimensions_stay_closed(config: ModelConfig, batch: SizeRange) -> None:
    for role in ("ee", "sac", "deit"):
        for name, shapes in input_ranges(role, config, batch).items():
            ordered = list(zip(*shapes, strict=True))
            assert all(1 <= low <= opt <= high for low, opt, high in ordered)
            assert ordered[0] == tuple(batch)
            moving = 2 if role == "sac" else 1
            assert all(low == high for low, _, high in ordered[moving:]), name


@given(configs(), sizes, st.data())
def test_every_request_of_the_runtime_lies_in_the_ranges(
    config: ModelConfig, batch: SizeRange, data: st.DataObject
) -> None:
    """The request is made by the runtime's own glue, for an alpha and a batch within what the plan is built for."""
    tokens, rounding = config.geometry.tokens, config.method.rounding
    within = st.floats(1 / tokens, 1 - 1.001 / tokens)
    alphas = tuple(sorted(data.draw(st.tuples(within, within))))
    targets = target_range(config, alphas)
    assume(config.geometry.image_size <= 96)  # larger ones only take longer
    ranges = input_ranges("sac", config, batch, targets)
    ends: dict[str, list[tuple[int, ...]]] = {name: [] for name in ranges}
    for alpha in (*alphas, data.draw(st.floats(*alphas))):
        count = data.draw(st.sampled_from(list(batch)))
        asked = request(config, count, num_targets(alpha, tokens, rounding))
        assert set(asked) == set(ranges)
        for name, shape in asked.items():
            assert fits(shape, ranges[name]), (name, shape, ranges[name])
            ends[name].append(shape)
    # No wider than needed: the two alphas reach both ends.
    for name, shapes in ranges.items():
        reached = {shape[1] for shape in ends[name]}
        assert {shapes.min[1], shapes.max[1]} <= reached, name


def fits(shape: tuple[int, ...], shapes: ShapeRange) -> bool:
    return all(low <= size <= high for low, size, high in zip(shapes.min, shape, shapes.max, strict=True))


def request(config: ModelConfig, count: int, m: int) -> dict[str, tuple[int, ...]]:
    geometry = config.geometry
    images = np.zeros((count, geometry.image_size, geometry.image_size, 3), np.uint8)
    tokens = np.zeros((count, geometry.tokens, geometry.width), np.float32)
    targets = np.tile(np.arange(m), (count, 1))
    built = build_request(images, {"features": tokens, "embeddings": tokens}, np.arange(count), targets, config)
    return {name: value.shape for name, value in built.inputs(config).items()}


@given(configs())
def test_without_alphas_every_alpha_is_served(config: ModelConfig) -> None:
    targets = target_range(config)
    assert (targets.min, targets.max) == (1, config.geometry.tokens - 1)
    assert targets.opt == num_targets(config.method.alpha, config.geometry.tokens, config.method.rounding)


def test_a_window_bounds_the_targets() -> None:
    method = Method(selection="window", alpha=0.88, rounding="ceil")
    config = ModelConfig(method=method)  # 25 of 49 tokens
    assert tuple(target_range(config)) == (1, 22, 25)
    assert tuple(target_range(config, (0.3, 1.0))) == (8, 22, 25)
    whole = ModelConfig(method=dataclasses.replace(method, region_size=7))
    assert tuple(target_range(whole)) == (1, 44, 48)


def test_the_plan_is_fastest_at_the_models_own_alpha_or_the_nearest() -> None:
    config = tiny()  # alpha 0.5: 24 of 49
    assert tuple(target_range(config, (0.3, 0.9))) == (14, 24, 44)
    assert tuple(target_range(config, (0.6, 0.9))) == (29, 29, 44)
    assert tuple(target_range(config, (0.1, 0.3))) == (4, 14, 14)


def test_the_shapes_of_the_default_geometry_written_out() -> None:
    config = ModelConfig()
    assert input_ranges("ee", config, BATCH) == {"image": ((1, 3, 112, 112), (8, 3, 112, 112), (32, 3, 112, 112))}
    assert input_ranges("deit", config, BATCH) == {"image": ((1, 3, 224, 224), (8, 3, 224, 224), (32, 3, 224, 224))}
    assert input_ranges("sac", config, BATCH, SizeRange(14, 24, 44)) == {
        "patches": ((1, 56, 768), (8, 96, 768), (32, 176, 768)),
        "positions": ((1, 56), (8, 96), (32, 176)),
        "target_features": ((1, 14, 384), (8, 24, 384), (32, 44, 384)),
        "background": ((1, 5, 384), (8, 25, 384), (32, 35, 384)),
    }


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 3), (1, 3, 2), (-1, -1, -1)])
def test_a_range_out_of_order_is_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="1 <= min <= opt <= max"):
        SizeRange(*sizes)


def test_wrong_roles_and_alphas_are_refused() -> None:
    config = tiny()
    with pytest.raises(UsageError, match="no engine 'ees'; there are: view, ee, gather, sac, deit"):
        input_ranges("ees", config, BATCH)
    with pytest.raises(UsageError, match="49 targets of 49 tokens leave no background"):
        input_ranges("sac", config, BATCH, SizeRange(1, 1, 49))
    with pytest.raises(UsageError, match="alpha"):
        target_range(config, (0.3, 1.0))
    with pytest.raises(UsageError, match="not 44, 14, 14"):
        target_range(config, (0.9, 0.3))
