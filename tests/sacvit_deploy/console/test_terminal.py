"""Names reach the terminal without what steers it."""

from __future__ import annotations

import unicodedata

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.console.terminal import printable, say

ESCAPES = "\x1b]0;owned\x07"


@given(st.text(st.characters(codec=None)))
def test_nothing_invisible_is_left(text: str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp") for letter in shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()  # half of a surrogate pair has no bytes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a tabby, cat", "a tabby, cat"),
        ("Zürich 東京 ไทย", "Zürich 東京 ไทย"),
        ("नमस्\u200dते", "नमस्\u200dते"),  # a joiner changes how letters look
        (ESCAPES, "\\x1b]0;owned\\x07"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\x9b31m", "\\x9b31m"),
        ("gpj\u202egnp.exe", "gpj\\u202egnp.exe"),
        ("\udcff.jpg", "\\udcff.jpg"),
        ("\u2028", "\\u2028"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_say_keeps_lines_and_escapes_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"one\n{ESCAPES}\u202e")
    assert capsys.readouterr().out == "one\n\\x1b]0;owned\\x07\\u202e\n"
    say(ESCAPES, err=True)
    assert "\x1b" not in capsys.readouterr().err


def test_a_terminal_without_the_letters() -> None:
    import click

    @click.command()
    def command() -> None:
        say("東京 é")

    result = CliRunner(charset="ascii").invoke(command)
    assert result.exception is None
    assert result.output == "\\u6771\\u4eac \\xe9\n"
