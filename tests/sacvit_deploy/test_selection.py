"""Selection of targets, against its definition written out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.selection import choose_targets, select_targets, window_sums


def naive_selection(scores: list[float], count: int) -> list[int]:
    """Highest first, the earlier of equals first; then by index."""
    return sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])


@given(
    # Few different values, so that ties are the rule; enough of them that an unstable sort would show.
    rows=st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=49, max_size=49), min_size=1, max_size=3),
    count=st.integers(1, 48),
)
def test_selection_with_ties(rows: list[list[float]], count: int) -> None:
    selected = select_targets(np.array(rows, dtype=np.float32), count)
    assert selected.tolist() == [naive_selection(row, count) for row in rows]


@given(row=st.lists(st.floats(0, 1, width=32), min_size=4, max_size=81), data=st.data())
def test_selection_of_any_scores(row: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(row) - 1))
    selected = select_targets(np.array([row], dtype=np.float32), count)
    assert selected.tolist() == [naive_selection(row, count)]


# --- LF-ViT's window


@st.composite
def window_cases(draw: st.DrawFn) -> tuple[ModelConfig, npt.NDArray[np.float32]]:
    """A grid, a window and the scores of two images; of few different values, so that tokens and windows are equal."""
    grid = draw(st.integers(2, 9))
    side, alpha = draw(st.integers(1, grid - 1)), draw(st.sampled_from([0.5, 0.88, 1.0]))
    method = Method(selection="window", region_size=side, alpha=alpha, rounding="ceil")
    values = draw(st.sampled_from([st.sampled_from([0.0, 0.25, 0.5]), st.floats(0, 1, width=32)]))
    scores = draw(st.lists(values, min_size=2 * grid**2, max_size=2 * grid**2))
    return ModelConfig(Geometry(image_size=32 * grid), method), np.array(scores, np.float32).reshape(2, -1)


def naive_window(scores: npt.NDArray[np.float32], config: ModelConfig) -> tuple[list[np.float32], list[int]]:
    """One image: the sums of all windows, and the targets, by walking over tokens one by one in fp32."""
    grid, side = config.geometry.grid, config.method.region_size
    sums, windows = [], []
    for top in range(grid - side + 1):
        for left in range(grid - side + 1):
            rows = [[(top + y) * grid + left + x for x in range(side)] for y in range(side)]
            total = None
            for row in rows:
                part = scores[row[0]]
                for token in row[1:]:
                    part = part + scores[token]
                total = part if total is None else total + part
            sums.append(total)
            windows.append([token for row in rows for token in row])
    inside = windows[sums.index(max(sums))]
    return sums, sorted(sorted(inside, key=lambda token: (-scores[token], token))[: config.num_targets()])


@given(window_cases())
def test_the_best_windows_highest_scores_are_the_targets(
    case: tuple[ModelConfig, npt.NDArray[np.float32]],
) -> None:
    config, scores = case
    sums = window_sums(scores, config.geometry.grid, config.method.region_size)
    targets = choose_targets(scores, config.num_targets(), config)
    assert sums.dtype == np.float32
    for row, (expected_sums, expected) in enumerate(naive_window(image, config) for image in scores):
        assert sums[row].tolist() == expected_sums
        assert targets[row].tolist() == expected


def test_of_equal_windows_the_first_wins() -> None:
    config = ModelConfig(Geometry(image_size=96), Method(selection="window", region_size=2, alpha=1.0))
    scores = np.array([[0, 0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1, 0]], np.float32)
    assert choose_targets(scores, 4, config).tolist() == [[0, 1, 3, 4], [3, 4, 6, 7]]


def test_a_high_score_outside_the_window_is_no_target() -> None:
    config = ModelConfig(Geometry(image_size=96), Method(selection="window", region_size=2, alpha=0.5))
    scores = np.array([[4, 0, 0, 0, 3, 2, 0, 2, 1]], np.float32)
    assert choose_targets(scores, 2, config).tolist() == [[4, 5]]


def test_no_images_have_no_targets() -> None:
    config = ModelConfig(method=Method(selection="window"))
    assert choose_targets(np.zeros((0, 49), np.float32), 3, config).shape == (0, 3)


@pytest.mark.parametrize(
    ("size", "side", "alpha", "count"), [(224, 5, 0.88, 22), (288, 5, 0.88, 22), (224, 5, 1.0, 25)]
)
def test_alpha_is_the_share_of_the_window(size: int, side: int, alpha: float, count: int) -> None:
    method = Method(selection="window", region_size=side, alpha=alpha, rounding="ceil")
    assert ModelConfig(Geometry(image_size=size), method).num_targets() == count
