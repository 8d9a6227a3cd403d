"""The drawn answer: targets bright and outlined, background dark."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sacvit_deploy import Prediction
from sacvit_deploy.arrays import Pixels
from sacvit_deploy.images.overlay import BAR, SHADE, SIDE, caption, draw_overlay

GREY = np.full((224, 224, 3), 200, dtype=np.uint8)


def answer(targets: Sequence[int] | None, label: str = "thing") -> Prediction:
    return Prediction(
        source="a.jpg",
        labels=[label, "other"],
        stage=1 if targets is None else 2,
        probabilities=np.array([0.9, 0.1], dtype=np.float32),
        stage_one_probability=0.4,
        grid=7,
        targets=None if targets is None else np.array(targets),
        timing={},
    )


def cell_middle(sheet: Pixels, token: int) -> int:
    row, column = divmod(token, 7)
    return int(sheet[64 * row + 32, 64 * column + 32, 0])


@pytest.mark.parametrize("targets", [[0, 8, 9, 24, 48], list(range(24)), [6, 42]])
def test_background_is_darkened_and_targets_are_not(targets: list[int]) -> None:
    sheet = np.asarray(draw_overlay(GREY, answer(targets), 0.6, 0.5))
    assert sheet.shape == (SIDE + BAR, SIDE, 3)
    bright = [token for token in range(49) if cell_middle(sheet, token) == 200]
    dark = [token for token in range(49) if abs(cell_middle(sheet, token) - 200 * SHADE) <= 1]
    assert bright == targets
    assert sorted(bright + dark) == list(range(49))


def test_targets_are_outlined_and_neighbours_share_no_line() -> None:
    sheet = np.asarray(draw_overlay(GREY, answer([8, 9]), 0.6, 0.5)).astype(int)
    yellow = (sheet[:SIDE, :, 0] > 200) & (sheet[:SIDE, :, 2] < 100)
    assert yellow[62:67, 96].any()  # above token 8
    assert yellow[96, 62:67].any()  # to its left
    assert not yellow[96, 124:133].any()  # between 8 and 9
    assert not yellow[200:440].any()


def test_exit_is_not_shaded() -> None:
    sheet = np.asarray(draw_overlay(GREY, answer(None), 0.6, 0.5))
    assert (sheet[:SIDE] == 200).all()
    assert (sheet[SIDE:] < 128).any()  # the caption


def test_caption_of_any_label() -> None:
    for label in ("", "x" * 500, "Kätzchen 犬 🦆", "two\nlines"):
        assert draw_overlay(GREY, answer([1], label), 0.6, 0.5).size == (SIDE, SIDE + BAR)


def test_caption_says_how_the_answer_came_about() -> None:
    assert caption(answer([1, 2]), 0.6, 0.5) == ("thing  90%", "stage 2, 2 targets; eta 0.6, alpha 0.5")
    assert caption(answer(None), 0.75, 0.4) == ("thing  90%", "exit at stage 1; eta 0.75, alpha 0.4")
    first, other = (np.asarray(draw_overlay(GREY, answer([1]), eta, 0.5)) for eta in (0.6, 0.7))
    assert (first[:SIDE] == other[:SIDE]).all() and (first[SIDE:] != other[SIDE:]).any()


def test_other_image_and_grid_sizes() -> None:
    prediction = answer([0, 80])
    prediction = Prediction(**{**prediction.__dict__, "grid": 9})
    sheet = np.asarray(draw_overlay(np.full((288, 288, 3), 200, np.uint8), prediction, 0.6, 0.5))
    assert sheet[20, 20, 0] == 200
    assert sheet[SIDE - 20, SIDE - 20, 0] == 200
    assert sheet[SIDE // 2, SIDE // 2, 0] == pytest.approx(200 * SHADE, abs=1)
