"""Figures as inline SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from sacvit_deploy.console.figures import inline_svg, new_figure, save_png
from sacvit_deploy.errors import SacvitError


def draw(figure: Any) -> None:
    """A line of three markers and a bar."""
    axes = figure.add_subplot()
    axes.plot([0, 1, 2], [1, 2, 1], marker="o", gid="line", label="a <b> & $c$")
    axes.barh(1, 2, gid="bar")
    axes.legend()


TITLES = {"line": ["first", "second <2>", "third"], "bar": ["the bar"]}


def test_titles_stand_at_their_points() -> None:
    with new_figure(300, 200) as figure:
        draw(figure)
        text = inline_svg(figure, "a chart", TITLES, "x")
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("viewBox"), root.get("aria-label")) == ("svg", "0 0 300 200", "a chart")
    markers = [use for use in root.iter("use") if use.find("title") is not None]
    assert [use.findtext("title") for use in markers] == TITLES["line"]
    across = [float(use.attrib["x"]) for use in markers]
    assert across == sorted(across)
    bars = [group for group in root.iter("g") if group.findtext("title") == "the bar"]
    assert len(bars) == 1
    assert bars[0].find("path") is not None
    assert [element.text for element in root.iter("text") if "a <b>" in (element.text or "")] == ["a <b> & $c$"]


def test_nothing_is_referred_to_outside_the_element() -> None:
    with new_figure(300, 200) as figure:
        draw(figure)
        text = inline_svg(figure, "a chart", {}, "x")
    root = ElementTree.fromstring(text)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert {use.attrib["href"] for use in root.iter("use")} == {f"#{name}" for name in ids}
    assert all(name.startswith("x-") for name in ids)
    for word in ("url(", "http", "clip-path", "<style", "font-family", "<metadata"):
        assert word not in text


def test_the_same_figure_gives_the_same_text() -> None:
    texts = []
    for _ in range(2):
        with new_figure(300, 200) as figure:
            draw(figure)
            texts.append(inline_svg(figure, "a chart", TITLES, "x"))
    assert texts[0] == texts[1]


def test_titles_without_their_artist_are_an_error() -> None:
    with new_figure(300, 200) as figure, pytest.raises(ValueError, match="gid nobody"):
        inline_svg(figure, "a chart", {"nobody": ["?"]}, "x")


def test_a_png_has_the_size_asked_for(tmp_path: Path) -> None:
    with new_figure(300, 200) as figure:
        draw(figure)
        save_png(figure, tmp_path / "new" / "chart.png", dpi=144)
        with pytest.raises(SacvitError, match="can't write"):
            save_png(figure, tmp_path / "new" / "chart.png" / "below.png", dpi=144)
    with Image.open(tmp_path / "new" / "chart.png") as image:
        assert image.size == (600, 400)
