"""The files a sweep writes, and the contact sheet: whole, self-contained, and showing what they should."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.cli_sheet import halves, mixed
from sacvit_deploy.evaluation.curve import candidate_etas, choose_accuracy, pareto, points
from sacvit_deploy.evaluation.eval_table import Answers
from sacvit_deploy.evaluation.figures import nice_step
from sacvit_deploy.evaluation.sheet import RIGHT, SIDE, WRONG, Card, draw_sheet
from sacvit_deploy.evaluation.sweep import Choice, Sweep, outline, write_files
from sacvit_deploy.evaluation.sweep_page import page, svg
from sacvit_deploy.evaluation.sweep_table import table, thinned


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    rng = np.random.default_rng(1)
    confidence = rng.random(300)
    ee = rng.random(300) < confidence
    costs = {alpha: Costs(ee=10**9, sac=int(alpha * 5e9), deit=46 * 10**8) for alpha in (0.4, 0.5)}
    curves = {
        alpha: points(Answers(confidence, ee, rng.random(300) < 0.8), candidate_etas(confidence), alpha, costs[alpha])
        for alpha in costs
    }
    every = [point for curve in curves.values() for point in curve]
    choice = Choice(choose_accuracy(every, curves[0.5][-1].top1, 0.5), "within 0.5 points of <SAC-only>")
    return Sweep("a <b> model", curves, pareto(every), choice, 4.6, {"data": "x & y"})


def test_html_is_self_contained_and_tells_every_dot(sweep: Sweep) -> None:
    text = page(sweep)
    assert not re.search(r"https?:|src=|@import|url\(", text)
    assert len(text) < 200_000
    assert "a &lt;b&gt; model" in text and "x &amp; y" in text and "<b> model" not in text
    drawing = ElementTree.fromstring(svg(sweep))
    titles = [title.text or "" for title in drawing.iter("title")]
    assert len(titles) == sum(len(outline(curve)) for curve in sweep.curves.values()) + 1
    for word in ("eta ", "alpha ", "top-1 ", "continue", "GMACs"):
        assert all(word in title for title in titles)
    # Dots lie inside the drawing.
    for dot in drawing.iter("circle"):
        assert 0 <= float(dot.attrib["cx"]) <= 900 and 0 <= float(dot.attrib["cy"]) <= 540


@given(st.floats(1e-6, 1e6))
def test_nice_steps(rough: float) -> None:
    step = nice_step(rough)
    assert rough * 0.999 <= step <= 2.5001 * rough
    assert f"{step:.0e}"[0] in "125"


def test_files(sweep: Sweep, tmp_path: Path) -> None:
    written = write_files(sweep, tmp_path / "new" / "out")
    assert [path.name for path in written] == ["sweep.json", "sweep.png", "sweep.html"]
    found = json.loads(written[0].read_text())
    assert found["choice"]["eta"] == sweep.choice.point.eta  # type: ignore[union-attr]
    assert set(found["curves"]) == {"0.4", "0.5"} and len(found["front"]) == len(sweep.front)
    image = np.asarray(Image.open(written[1]).convert("L"))
    assert image.shape[0] > 500 and image.std() > 10
    (tmp_path / "file").write_text("")
    with pytest.raises(SacvitError, match="can't write the sweep"):
        write_files(sweep, tmp_path / "file" / "out")


def test_terminal_table(sweep: Sweep) -> None:
    text = table(sweep, ModelConfig())
    assert "Chosen within 0.5 points" in text and "slightly optimistic" in text
    assert max(map(len, text.splitlines())) <= 125
    shown = thinned(sweep.front)
    assert len(shown) <= 12 and shown[0] == sweep.front[0] and shown[-1] == sweep.front[-1]


def card(*, right: bool, mask: bool) -> Card:
    rng = np.random.default_rng(0)
    chosen = np.zeros((7, 7), bool)
    chosen[2:4, 2:5] = True
    pixels = rng.integers(100, 160, (224, 224, 3), dtype=np.uint8)
    return Card(pixels, "a truth " * 9, "an answer", 0.5, right, chosen if mask else None, (60.0, 60, 120, 110))


def test_sheet_signs_and_shades() -> None:
    right, wrong = card(right=True, mask=False), card(right=False, mask=True)
    sheets = {
        name: np.asarray(draw_sheet("title", exits, rest, ("left", "right"))).astype(int)
        for name, exits, rest in (("both", [right], [wrong]), ("exits", [right], []), ("rest", [], [wrong]))
    }
    below = 58 + 34 + SIDE  # the captions, where legend and pictures are not

    def colours(image: np.ndarray, colour: tuple[int, int, int]) -> int:
        return int((image[below:] == colour).all(axis=2).sum())

    assert colours(sheets["both"], RIGHT) and colours(sheets["both"], WRONG)
    assert colours(sheets["exits"], RIGHT) and not colours(sheets["exits"], WRONG)
    pictures = {name: image[58 + 34 : below].mean() for name, image in sheets.items()}
    assert pictures["rest"] < pictures["exits"]  # background tokens are dark


@given(st.integers(0, 30), st.integers(0, 30), st.integers(2, 20))
def test_halves(exits: int, rest: int, count: int) -> None:
    (_, first), (_, second) = halves(np.arange(exits), np.arange(rest), count)
    assert 0 <= first <= exits and 0 <= second <= rest
    assert first + second == min(count, exits + rest)
    if exits >= count and rest >= count:
        assert abs(first - second) <= 1


def test_choice_mixes_sizes_and_follows_the_seed() -> None:
    sizes = np.array([20.0] * 50 + [40.0] * 5 + [70.0] * 50 + [100.0] * 2)
    rows = np.arange(len(sizes))
    chosen = mixed(rows, sizes, 8, np.random.default_rng(0))
    assert sizes[chosen].tolist() == [20, 20, 40, 40, 70, 70, 100, 100]
    assert np.array_equal(chosen, mixed(rows, sizes, 8, np.random.default_rng(0)))
    assert not np.array_equal(chosen, mixed(rows, sizes, 8, np.random.default_rng(1)))
    assert len(set(mixed(rows, None, 8, np.random.default_rng(0)))) == 8
