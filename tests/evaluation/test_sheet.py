"""The contact sheet: which images are chosen, and what their cards show."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.evaluation.sheet import RIGHT, SIDE, WRONG, Card, choose_rows, draw_sheet, split_count


def card(*, right: bool, mask: bool) -> Card:
    rng = np.random.default_rng(0)
    chosen = np.zeros((7, 7), bool)
    chosen[2:4, 2:5] = True
    pixels = rng.integers(100, 160, (224, 224, 3), dtype=np.uint8)
    box = np.array([60.0, 60, 120, 110])
    return Card(pixels, "a truth " * 9, "an answer", 0.5, right, chosen if mask else None, box)


def test_sheet_signs_and_shades() -> None:
    right, wrong = card(right=True, mask=False), card(right=False, mask=True)
    sheets = {
        name: np.asarray(draw_sheet("title", exits, rest, ("left", "right"))).astype(int)
        for name, exits, rest in (("both", [right], [wrong]), ("exits", [right], []), ("rest", [], [wrong]))
    }
    below = 58 + 34 + SIDE  # the captions, where legend and images are not

    def colours(image: np.ndarray, colour: tuple[int, int, int]) -> int:
        return int((image[below:] == colour).all(axis=2).sum())

    assert colours(sheets["both"], RIGHT) and colours(sheets["both"], WRONG)
    assert colours(sheets["exits"], RIGHT) and not colours(sheets["exits"], WRONG)
    brightness = {name: image[58 + 34 : below].mean() for name, image in sheets.items()}
    assert brightness["rest"] < brightness["exits"]  # background tokens are dark


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 20))
def test_each_kind_gets_half_of_the_places(exits: int, rest: int, count: int) -> None:
    first, second = split_count(exits, rest, count)
    assert 0 <= first <= exits and 0 <= second <= rest
    assert first + second == min(count, exits + rest)
    if exits >= count and rest >= count:
        assert abs(first - second) <= 1


def test_choice_mixes_sizes_and_follows_the_seed() -> None:
    sizes = np.array([20.0] * 50 + [40.0] * 5 + [70.0] * 50 + [100.0] * 2)
    rows = np.arange(len(sizes))
    chosen = choose_rows(rows, sizes, 8, np.random.default_rng(0))
    assert sizes[chosen].tolist() == [20, 20, 40, 40, 70, 70, 100, 100]
    assert np.array_equal(chosen, choose_rows(rows, sizes, 8, np.random.default_rng(0)))
    assert not np.array_equal(chosen, choose_rows(rows, sizes, 8, np.random.default_rng(1)))
    assert len(set(choose_rows(rows, None, 8, np.random.default_rng(0)))) == 8
