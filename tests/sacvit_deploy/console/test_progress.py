"""Progress lines on a terminal and in a log."""

from __future__ import annotations

import io
import re

import pytest

from sacvit_deploy.console import progress
from sacvit_deploy.console.progress import Progress


class Terminal(io.StringIO):
    """Text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def visible(written: str) -> list[str]:
    """Lines as a terminal shows them: a carriage return goes back, and what follows replaces what is there."""
    lines = []
    for line in written.split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)


def work(say: Progress) -> None:
    with say.step("reading"):
        pass
    say.note("two files")
    with say.bar("writing", 3) as advance:
        advance(2)
        advance(1)
    with say.count("counting") as advance:
        advance(1)


def test_a_log_has_finished_steps_alone() -> None:
    out = io.StringIO()
    work(Progress(out))
    lines = [re.sub(r"[\d.]+ s", "0 s", line) for line in out.getvalue().splitlines()]
    assert lines == ["reading  (0 s)", "  two files", "writing  (0 s)"]


def test_a_terminal_ends_with_the_same_lines() -> None:
    out, log = Terminal(), io.StringIO()
    work(Progress(out))
    work(Progress(log))
    times = re.compile(r"[\d.]+ s")
    assert [times.sub("", line) for line in visible(out.getvalue())] == [
        times.sub("", line) for line in log.getvalue().split("\n")
    ]
    assert "reading ..." in out.getvalue()
    assert "writing: 2 of 3, 0 s left" in out.getvalue()
    assert "counting: 1" in out.getvalue()


def test_a_step_that_fails_keeps_its_name_on_a_terminal() -> None:
    out, log = Terminal(), io.StringIO()
    for stream in (out, log):
        with pytest.raises(KeyboardInterrupt), Progress(stream).step("reading"):
            raise KeyboardInterrupt
    assert visible(out.getvalue()) == ["reading ...", ""]
    assert log.getvalue() == ""


def test_short_work_shows_no_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 60.0)
    out = Terminal()
    with Progress(out).count("counting", 10) as advance:
        advance(5)
    assert out.getvalue() == ""


def test_other_lines_stand_above_the_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    say = Progress(out)
    with say.doing("opening a folder with a long name"):
        assert visible(out.getvalue()) == ["opening a folder wi"]  # what wraps can't be taken back
    with say.count("images", 9) as advance:
        advance(1)
        with say.cleared():
            out.write("a row\n")
        assert visible(out.getvalue())[0] == "a row"
        assert visible(out.getvalue())[1].startswith("images: 1 of 9")
    assert visible(out.getvalue()) == ["a row", ""]
