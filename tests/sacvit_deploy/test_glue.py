"""Gate, selection and gathering, each against a naive implementation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit_deploy.confidence import softmax
from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import child_positions
from sacvit_deploy.glue import (
    StageTwoInputs,
    background_tokens,
    build_request,
    check_eta,
    continuing,
    gather_patches,
    join,
)
from sacvit_deploy.images.preprocess import normalise

RNG = np.random.default_rng(7)


# --- gate


@pytest.mark.parametrize("eta", [-0.01, 1.01, 1.5, math.nan, math.inf, -math.inf])
def test_eta_out_of_range_is_refused(eta: float) -> None:
    with pytest.raises(UsageError, match="eta is"):
        check_eta(eta)


def test_eta_limits_are_allowed() -> None:
    assert [check_eta(eta) for eta in (0, 0.5, 1)] == [0.0, 0.5, 1.0]


def test_gate_at_zero_exits_and_at_one_continues() -> None:
    probabilities = np.array([[0.1] * 10, [1.0] + [0.0] * 9])
    assert continuing(probabilities, 0.0).tolist() == [False, False]
    assert continuing(probabilities, 1.0).tolist() == [True, True]


def test_gate_continues_at_exactly_eta() -> None:
    assert continuing(np.array([[0.5, 0.5], [0.5000001, 0.4999999], [0.4, 0.6]]), 0.5).tolist() == [True, False, False]


def test_eta_one_continues_where_the_softmax_saturates() -> None:
    probabilities = softmax(np.array([[1000.0, -1000.0, 0.0]], dtype=np.float32))
    assert probabilities[0, 0] == 1.0
    assert continuing(probabilities, 1.0).tolist() == [True]


@given(logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=20))
def test_softmax_is_a_distribution_and_keeps_the_order(logits: list[float]) -> None:
    array = np.array([logits], dtype=np.float32)
    probabilities = softmax(array)
    assert probabilities.dtype == np.float64
    assert probabilities.sum() == pytest.approx(1.0)
    assert probabilities.max() <= 1.0
    np.testing.assert_allclose(probabilities, torch.from_numpy(array).double().softmax(1).numpy(), rtol=1e-12)
    assert probabilities[0, array.argmax()] == probabilities.max()


# --- background


@given(tokens=st.integers(2, 81), data=st.data())
def test_background_is_the_complement(tokens: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, tokens - 1))
    batch = data.draw(st.integers(1, 4))
    targets = np.stack([np.sort(np.random.default_rng(row).permutation(tokens)[:count]) for row in range(batch)])
    rest = background_tokens(targets, tokens)
    assert rest.shape == (batch, tokens - count)
    for chosen, left in zip(targets.tolist(), rest.tolist(), strict=True):
        assert left == sorted(left)
        assert sorted(chosen + left) == list(range(tokens))


# --- gathering


def random_images(batch: int, size: int) -> npt.NDArray[np.uint8]:
    return RNG.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)


def chosen(batch: int, tokens: int, count: int) -> npt.NDArray[np.int64]:
    return np.stack([np.sort(RNG.permutation(tokens)[:count]) for _ in range(batch)])


@settings(max_examples=25, deadline=None)
@given(patch=st.sampled_from([1, 2, 5]), grid=st.integers(2, 5), batch=st.integers(1, 3), data=st.data())
def test_gathered_patches_against_a_loop(patch: int, grid: int, batch: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, grid * grid - 1))
    images, targets = random_images(batch, 2 * grid * patch), chosen(batch, grid * grid, count)
    gathered = gather_patches(images, targets, patch)
    assert gathered.shape == (batch, 4 * count, 3 * patch * patch)
    assert gathered.dtype == np.uint8
    for image, row, patches in zip(images, targets, gathered, strict=True):
        at = 0
        for target in row:
            for down in (0, 1):
                for right in (0, 1):
                    top = (2 * (target // grid) + down) * patch
                    left = (2 * (target % grid) + right) * patch
                    values = [
                        image[top + y, left + x, channel]
                        for channel in range(3)
                        for y in range(patch)
                        for x in range(patch)
                    ]
                    assert patches[at].tolist() == values
                    at += 1


@pytest.mark.parametrize("size", [224, 288])
def test_gathered_patches_against_torch_unfold(size: int) -> None:
    grid = size // 32
    images, targets = random_images(2, size), chosen(2, grid * grid, grid * grid // 2)
    columns = F.unfold(torch.from_numpy(images).permute(0, 3, 1, 2).double(), 16, stride=16).transpose(1, 2)
    children = torch.from_numpy(child_positions(targets, grid))
    expected = torch.stack([columns[row, children[row]] for row in range(2)])
    np.testing.assert_array_equal(gather_patches(images, targets, 16), expected.numpy())


# --- the request to stage 2

SMALL = Geometry(image_size=24, patch_size=4, width=5, depth=1, heads=1, classes=2)  # 3x3 low-res tokens


def stage_one_outputs(batch: int) -> dict[str, npt.NDArray[np.float32]]:
    shape = (batch, SMALL.tokens, SMALL.width)
    return {"features": RNG.random(shape, dtype=np.float32), "embeddings": RNG.random(shape, dtype=np.float32)}


@pytest.mark.parametrize("background", ["embeddings", "features"])
def test_request_holds_the_rows_that_continue(background: str) -> None:
    config = ModelConfig(SMALL, Method(background=background))  # type: ignore[arg-type]
    images, out = random_images(5, 24), stage_one_outputs(5)
    rows, targets = np.array([1, 4]), np.array([[0, 2, 8], [3, 4, 5]])
    request = build_request(images, out, rows, targets, config)
    assert request.size == 2
    for at, row in enumerate(rows):
        rest = [token for token in range(9) if token not in targets[at]]
        np.testing.assert_array_equal(request.target_features[at], out["features"][row][targets[at]])
        np.testing.assert_array_equal(request.background[at], out[background][row][rest])
        np.testing.assert_array_equal(request.positions[at], child_positions(targets[at], 3))
        np.testing.assert_array_equal(request.patches[at], gather_patches(images[[row]], targets[[at]], 4)[0])
    np.testing.assert_array_equal(request.targets, targets)


def test_inputs_are_the_normalised_patches() -> None:
    config = ModelConfig(SMALL)
    request = build_request(random_images(2, 24), stage_one_outputs(2), np.array([0, 1]), chosen(2, 9, 4), config)
    inputs = request.inputs(config)
    channels = request.patches.reshape(2 * 16, 3, 4, 4).astype(np.float32)
    normalise(channels, config.preprocessing)
    np.testing.assert_allclose(inputs["patches"], channels.reshape(2, 16, 48), atol=1e-6)
    assert set(inputs) == {"patches", "positions", "target_features", "background"}
    assert inputs["patches"].dtype == np.float32


def test_requests_join_and_part_again() -> None:
    config = ModelConfig(SMALL)
    images, out = random_images(5, 24), stage_one_outputs(5)
    targets = chosen(5, 9, 4)
    whole = build_request(images, out, np.arange(5), targets, config)
    pieces = [build_request(images, out, np.array(rows), targets[rows], config) for rows in ([0, 1], [2], [3, 4])]
    joined = join(pieces)
    again = join([joined.part(0, 4), joined.part(4, 5)])
    for name in StageTwoInputs._fields:
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert joined.part(5, 5).size == 0


def test_a_request_crosses_a_network_in_a_hundred_kilobytes() -> None:
    geometry = Geometry()
    shape = (1, geometry.tokens, geometry.width)
    out = {name: np.zeros(shape, dtype=np.float16) for name in ("features", "embeddings")}
    request = build_request(random_images(1, 224), out, np.array([0]), np.arange(24)[None], ModelConfig(geometry))
    assert sum(getattr(request, name).nbytes for name in StageTwoInputs._fields) < 115_000
