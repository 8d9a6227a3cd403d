"""Counts and lists in messages."""

from __future__ import annotations

import pytest

from sacvit_deploy.console.text import counted, listed


@pytest.mark.parametrize(("count", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (2000, "2,000 images")])
def test_counted(count: int, text: str) -> None:
    assert counted(count, "image") == text


def test_listed() -> None:
    assert listed(["a"]) == "a"
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed([str(number) for number in range(1234)]) == "0, 1, 2, 3, 4 and 1,229 more"
