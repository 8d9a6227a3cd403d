"""The report in a real browser: no errors on its console, no request, nothing wider than a phone, charts drawn."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from sacvit_deploy.benchmarks.job import write_files
from sacvit_deploy.benchmarks.report.charts import accuracy_dots, cases, ratio_lines
from sacvit_deploy.benchmarks.report.page import page
from sacvit_deploy.benchmarks.report.results import read_json
from sacvit_deploy.errors import SacvitError
from tests.benchmarks.conftest import Benched

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CHROMIUM = pytest.mark.skipif(BROWSER is None, reason="NOT RUN: no Chromium here; apt-get install chromium")


class Tags(HTMLParser):
    """Collects the names of elements, their ids, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "srcset")]


def test_the_page_has_all_charts_and_loads_nothing(benched: Benched) -> None:
    text = (benched.folder / "report.html").read_text(encoding="utf-8")
    report = read_json(benched.folder / "bench.json")
    assert text == page(report, charts=True)
    tags = Tags()
    tags.feed(text)
    assert [link for link in tags.links if not link.startswith("#")] == ["data:,"]
    assert {link[1:] for link in tags.links if link.startswith("#")} == set(tags.ids)
    assert len(set(tags.ids)) == len(tags.ids)
    assert "script" not in tags.names
    assert not re.search(r"url\(|@import|https?://", text)
    dots = sum(accuracy_dots(rows) is not None for _, rows in cases(report))
    assert dots == 4  # the images have labels
    assert tags.names.count("svg") == len(ratio_lines(report)) + 2 * 4 + dots
    for row in report.rows:
        assert text.count(row.name) >= 3  # in both charts of its case and in its table
    assert len(text) < 16_000 * tags.names.count("svg")


def test_every_point_and_bar_tells_its_values_on_hover(benched: Benched) -> None:
    report = read_json(benched.folder / "bench.json")
    text = (benched.folder / "report.html").read_text(encoding="utf-8")
    points = sum(row.gate is not None and "deit" in row.ratios for row in report.rows)
    bars = sum(len(row.steps_ms) + ("deit" in row.ratios) for row in report.rows)
    dots = sum(row.accuracy is not None for row in report.rows)
    assert text.count("<title>") >= 1 + points + bars + dots  # the page's own title, and rests of bars
    row = next(row for row in report.rows if row.gate is not None)
    ratio = row.ratios["deit"]
    told = f"{100 * (row.continued or 0):.0f} %: {ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f})</title></use>"
    assert f"<title>{row.contender}, batch {row.batch}, {told}" in text


def test_without_matplotlib_the_page_has_tables_alone(
    benched: Benched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # import raises ImportError
    report = read_json(benched.folder / "bench.json")
    said: list[str] = []
    written = write_files(report, tmp_path, said.append, png=False)
    assert [path.name for path in written] == ["bench.json", "report.html"]
    text = written[1].read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "<figure" not in text
    for found in (text, *said):
        assert "pip install 'sacvit-deploy[plot]'" in found
    assert all(row.name in text for row in report.rows)
    with pytest.raises(SacvitError, match=r"sacvit-deploy\[plot\]"):
        write_files(report, tmp_path, said.append, png=True)


def test_names_can_not_become_markup(benched: Benched, tmp_path: Path) -> None:
    data = json.loads((benched.folder / "bench.json").read_text())
    bad = "<script>alert(1)</script>"
    data["bundle"]["name"] = data["runtime"] = data["notes"][0] = data["rows"][0]["contender"] = bad
    (tmp_path / "bench.json").write_text(json.dumps(data))
    assert "<script" not in page(read_json(tmp_path / "bench.json"), charts=True)


def open_page(path: Path, folder: Path, *options: str) -> tuple[str, list[str]]:
    """Open a page; returns the finished document and the addresses asked for over any network."""
    assert BROWSER is not None
    log = folder / "net.json"
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost", f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}", "--enable-logging=stderr", "--v=0",
        *options, path.as_uri(),
    ]  # fmt: skip
    home = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=home, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "localhost:9" not in line]
    assert not console, console
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # The browser asks for updates and the time by itself; what a page asks for has an origin.
    asked = [params["url"] for params in events if params.get("initiator", "not an origin") != "not an origin"]
    return done.stdout, [url for url in asked if not url.startswith(("file:", "data:"))]


@CHROMIUM
def test_a_request_would_be_noticed(tmp_path: Path) -> None:
    path = tmp_path / "asks.html"
    path.write_text('<!doctype html><img src="http://localhost:9/picture.png" onerror="document.title = 1">')
    assert open_page(path, tmp_path, "--dump-dom")[1] == ["http://localhost:9/picture.png"]


@CHROMIUM
def test_a_browser_shows_it_without_errors_or_requests(benched: Benched, tmp_path: Path) -> None:
    # Measured by the page itself, in a copy with a script that writes down what the browser made of it.
    text = (benched.folder / "report.html").read_text(encoding="utf-8")
    probe = tmp_path / "probe.html"
    script = (
        "<script>addEventListener('load', () => {const d = document, f = [];"
        "for (const s of d.querySelectorAll('svg')) {const r = s.getBoundingClientRect(), b = s.getBBox();"
        "f.push([r.width, r.height, b.width, b.height, b.x])}"
        "d.body.dataset.found = JSON.stringify({svg: f, wide: d.documentElement.scrollWidth, view: innerWidth,"
        " bad: d.querySelectorAll('parsererror').length})})</script></html>"
    )
    allowed = text.replace("default-src 'none';", "default-src 'none'; script-src 'unsafe-inline';")
    assert allowed != text
    probe.write_text(allowed.replace("</html>", script), encoding="utf-8")
    for width in (500, 1280):  # 500 is the narrowest window it opens
        folder = tmp_path / str(width)
        folder.mkdir()
        dom, asked = open_page(probe, folder, f"--window-size={width},900", "--dump-dom")
        assert asked == []
        found = re.search(r'data-found="([^"]*)"', dom)
        assert found is not None
        seen = json.loads(found[1].replace("&quot;", '"'))
        assert seen["bad"] == 0
        assert seen["wide"] <= seen["view"]  # nothing sticks out but what scrolls in its own box
        assert len(seen["svg"]) == text.count("<svg")
        for shown_wide, shown_high, wide, high, left in seen["svg"]:
            assert shown_wide > 300
            assert shown_high > 80
            assert left >= -1
            assert wide <= 391
            assert high > 60


@CHROMIUM
def test_a_browser_draws_it(benched: Benched, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    _, asked = open_page(benched.folder / "report.html", tmp_path, "--window-size=1280,2400", f"--screenshot={shot}")
    assert asked == []
    colours = {colour for _, colour in Image.open(shot).convert("RGB").getcolors(1 << 24)}
    assert {(0x00, 0x72, 0xB2), (0x8F, 0xA3, 0xB3), (0x56, 0xB4, 0xE9)} <= colours  # cascade, baselines, EE


def test_pngs_are_images(benched: Benched) -> None:
    for path in benched.folder.glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20
