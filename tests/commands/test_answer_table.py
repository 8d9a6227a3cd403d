"""The table's rows, from wide terminals to narrow ones."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit_deploy.commands.answer_table import AnswerTable, shortened
from sacvit_deploy.prediction import Prediction


def prediction(label: str) -> Prediction:
    source = "photos/holiday in the mountains/20260812_153012_a_long_name.jpg"
    probabilities = np.array([1, 0], dtype=np.float32)
    return Prediction(source, (label, "x"), 2, probabilities, 0.5, 7, np.arange(24), {"ee": 1.2345})


@pytest.mark.parametrize("columns", [48, 50, 60, 72, 79])
def test_no_row_wraps(capsys: pytest.CaptureFixture[str], columns: int) -> None:
    table = AnswerTable(columns)
    table.head()
    table.rows(prediction("soft-coated wheaten terrier"), 1)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= columns
    assert lines[1].split()[-4:] == ["100.0%", "2", "SAC", "1234.5"] and "..." in lines[1]


@pytest.mark.parametrize("columns", [None, 80, 200])
def test_elsewhere_labels_are_whole(capsys: pytest.CaptureFixture[str], columns: int | None) -> None:
    table = AnswerTable(columns)
    table.rows(prediction("soft-coated wheaten terrier"), 1)
    out = capsys.readouterr().out
    assert "soft-coated wheaten terrier 100.0%" in out
    assert out.startswith(".../20260812_153012_a_long_name.jpg  ")


def test_paths_keep_their_ends() -> None:
    assert shortened("a/b.jpg", 36) == "a/b.jpg"
    assert shortened("folder/name.jpg", 13) == ".../name.jpg"
    assert shortened("folder/clip.mp4#frame 1234", 16) == "...p4#frame 1234"
