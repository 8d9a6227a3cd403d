"""The files a sweep writes: whole, self-contained, and with the values of every point."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import Costs
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.metrics import Correctness
from sacvit_deploy.evaluation.sweep import (
    Sweep,
    SweepChoice,
    candidate_etas,
    choose_by_accuracy,
    pareto,
    sweep_points,
    thinned,
)
from sacvit_deploy.evaluation.sweep_chart import OUTLINE, describe_point, sweep_svg
from sacvit_deploy.evaluation.sweep_files import sweep_page, write_sweep
from sacvit_deploy.evaluation.sweep_table import sweep_table


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    rng = np.random.default_rng(1)
    confidence = rng.random(300)
    ee = rng.random(300) < confidence
    costs = {alpha: Costs(ee=10**9, sac=int(alpha * 5e9), deit=46 * 10**8) for alpha in (0.4, 0.5)}
    curves = {
        alpha: sweep_points(
            Correctness(confidence, ee, rng.random(300) < 0.8), candidate_etas(confidence), alpha, costs[alpha]
        )
        for alpha in costs
    }
    every = [point for curve in curves.values() for point in curve]
    choice = SweepChoice(choose_by_accuracy(every, curves[0.5][-1].top1, 0.5), "within 0.5 points of <SAC-only>")
    return Sweep("a <b> model", curves, pareto(every), choice, 4.6, {"data": "x & y"})


def numbers(element: ElementTree.Element, names: str) -> list[float]:
    return [float(element.attrib[name]) for name in names.split()]


def test_the_page_is_self_contained_and_tells_every_point(sweep: Sweep) -> None:
    text = sweep_page(sweep, chart=True)
    assert not re.search(r"https?:|src=|@import|url\(|<script", text)
    assert len(text) < 200_000
    assert "a &lt;b&gt; model" in text and "x &amp; y" in text and "<b> model" not in text
    drawing = ElementTree.fromstring(sweep_svg(sweep))
    assert ElementTree.tostring(drawing, encoding="unicode") in text  # twice the same
    points = [use for use in drawing.iter("use") if use.find("title") is not None]
    titles = [use.findtext("title") or "" for use in points]
    # The points of the curves, their ends once more, the star at their start, and the ring around the choice.
    assert len(titles) == sum(len(thinned(curve, OUTLINE)) + 1 for curve in sweep.curves.values()) + 2
    for word in ("eta ", "alpha ", "top-1 ", "continue", "GMACs"):
        assert all(word in title for title in titles)
    left, top, width, height = map(float, drawing.attrib["viewBox"].split())
    for x, y in (numbers(use, "x y") for use in points):
        assert left <= x <= left + width and top <= y <= top + height
    # Cheaper points lie farther left, more accurate ones higher.
    by_title = {title: numbers(use, "x y") for title, use in zip(titles, points, strict=True)}
    for curve in sweep.curves.values():
        drawn = [(point, by_title[describe_point(point)]) for point in thinned(curve, OUTLINE)]
        for (first, (x1, y1)), (second, (x2, y2)) in itertools.pairwise(drawn):
            assert (x2 - x1) * (second.gmacs - first.gmacs) >= 0
            assert (y1 - y2) * (second.top1.value - first.top1.value) >= 0


def test_a_page_without_a_chart_has_the_table(sweep: Sweep) -> None:
    text = sweep_page(sweep, chart=False)
    assert "<svg" not in text and text.count("pip install 'sacvit-deploy[plot]'") == 1
    assert text.count("<tr><td>") == len(sweep.front) and "Chosen within 0.5 points" in text


def test_files(sweep: Sweep, tmp_path: Path) -> None:
    written = write_sweep(sweep, tmp_path / "new" / "out", chart=True)
    assert [path.name for path in written] == ["sweep.json", "sweep.png", "sweep.html"]
    data = json.loads(written[0].read_text())
    assert data["choice"]["eta"] == sweep.choice.point.eta  # type: ignore[union-attr]
    assert set(data["curves"]) == {"0.4", "0.5"} and len(data["front"]) == len(sweep.front)
    image = np.asarray(Image.open(written[1]).convert("L"))
    assert image.shape[0] > 500 and image.std() > 10
    assert [path.name for path in write_sweep(sweep, tmp_path / "bare", chart=False)] == ["sweep.json", "sweep.html"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SacvitError, match="can't write the sweep"):
        write_sweep(sweep, tmp_path / "file" / "out", chart=False)


def test_terminal_table(sweep: Sweep) -> None:
    text = sweep_table(sweep, ModelConfig())
    assert "Chosen within 0.5 points" in text and "slightly optimistic" in text
    assert max(map(len, text.splitlines())) <= 125
    shown = thinned(sweep.front, 12)
    assert len(shown) <= 12 and shown[0] == sweep.front[0] and shown[-1] == sweep.front[-1]
