"""`python -m tests.corpora`: what it counts and names, on a small folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from sacvit_deploy import SACViT
from tests import corpora
from tests.corpora import ROOT, Answer, difference, run, watch

BUNDLE = ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((ROOT / "examples/pictures").iterdir())


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = SACViT(BUNDLE, threads=1)
    watch(model)
    for path in PICTURES[:3]:
        shutil.copy(path, tmp_path)
    (tmp_path / "cut.JPG").write_bytes(PICTURES[1].read_bytes()[:2000])
    (tmp_path / "in").mkdir()
    Image.new("RGB", (900, 700)).save(tmp_path / "in/large.bmp")
    (tmp_path / "notes.txt").touch()
    monkeypatch.setattr(corpora, "LARGE", 20_000_000)
    table = run([tmp_path], model, None)
    assert table.answered == {".jpg": 2, ".png": 1, ".bmp": 1}
    ((kind, reason),) = table.refused
    assert kind == ".jpg"
    assert reason.startswith("it is damaged or truncated (image file is truncated (N bytes")
    assert [Path(line.partition(":")[0]).name for line in table.named["large"]] == [
        PICTURES[0].name,
        "large.bmp",
    ]
    assert set(table.named) == {"large"}


def test_differences() -> None:
    one = Answer("cat, stage 1", 0.9)
    assert difference(one, Answer("cat, stage 1", 0.9004)) == ""
    for other in (Answer("cat, stage 2", 0.9), Answer("cat, stage 1", 0.8), Answer(error="it is damaged")):
        assert difference(one, other) and difference(other, one)
    assert difference(Answer(error="it is cut"), Answer(error="it is damaged")) == ""
