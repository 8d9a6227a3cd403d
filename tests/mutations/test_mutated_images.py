"""Some hundreds of mutated images through both runtimes, and whether each kind of failure would be noticed."""

from __future__ import annotations

import os
import signal
import stat
import struct
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any, Literal

import pytest

from sacvit_deploy.config import Preprocessing
from tests.corpora import Answer
from tests.mutations.children import Child, Reply
from tests.mutations.image_verdicts import (
    CRASH,
    DIFFERENT,
    ESCAPE,
    HANG,
    IDLE,
    KNOWN,
    NEITHER,
    OVER,
    PYTHON,
    SAME,
    Verdict,
    judge,
    judge_answer,
    read,
)
from tests.mutations.images import CPP_BUILD, Runtimes, group, opened, run, table
from tests.mutations.picture_seeds import FORMATS, seeds, whole
from tests.mutations.pictures import Picture, picture
from tests.mutations.png_changes import joined, split

BUILT = (CPP_BUILD / "tests/decode_probe").exists() and (CPP_BUILD / "sacvit_infer").exists()
COUNT = 700
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="select takes no pipes on Windows: NOT RUN")


@pytest.mark.slow
@pytest.mark.skipif(not BUILT, reason="the C++ runtime is not built: the comparison is NOT RUN (make cpp)")
def test_both_runtimes_survive_and_agree() -> None:
    with opened(CPP_BUILD) as runtimes:
        *_, (done, found) = run(runtimes, COUNT, seed=0)
    assert done == COUNT
    assert not found.failures, found.failures
    for kind, outcomes in found.outcomes.items():
        assert outcomes.total() == COUNT / len(FORMATS)
        assert outcomes[SAME if kind in ("JPEG", "PNG") else PYTHON] > 10, f"{kind}: hardly any is answered"
        assert outcomes[NEITHER] > 10, f"{kind}: hardly any is refused"
    assert len(table(found)) == len(FORMATS) + 2


# Width, height, bits, interlacing of what once took much more memory than was reserved for it: lines without end.
TALL = [(2, 16_000_001, 16, 1), (12, 8_388_622, 4, 0), (1, 16_777_237, 4, 1), (2, 33_554_433, 16, 1)]


@pytest.mark.skipif(not BUILT, reason="the C++ runtime is not built: the comparison is NOT RUN (make cpp)")
@pytest.mark.parametrize("header", TALL)
def test_tall_images_keep_to_what_is_reserved(header: tuple[int, int, int, int], tmp_path: Path) -> None:
    width, height, bits, interlaced = header
    lines = bytes(64 * (1 + (width * bits + 7) // 8))  # the stream ends with a line: the others are zero
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, interlaced)),
        (b"IDAT", zlib.compress(lines)),
    ]
    ways: tuple[Literal["squash", "shortest_edge"], ...] = ("squash", "shortest_edge")
    with opened(CPP_BUILD) as runtimes:
        for resize in ways:
            of = Picture(0, "PNG", joined([*chunks, (b"IEND", b"")]), Preprocessing(resize=resize))
            (tmp_path / of.name).write_bytes(of.raw)
            verdict = runtimes.decode(of, tmp_path / of.name)
            assert verdict.outcome in (SAME, NEITHER) if interlaced else verdict.outcome == SAME, verdict


# --- what is tried


def test_seeds_are_images_of_seven_formats() -> None:
    made = seeds()
    assert tuple(made) == FORMATS
    for kind, files in made.items():
        assert whole(files[0]), kind
        assert len({*files}) > 5


def test_an_image_can_be_made_again() -> None:
    made, again = seeds(), seeds()
    pictures = [picture(made, 7, number) for number in range(70)]
    assert pictures == [picture(again, 7, number) for number in range(70)]
    assert len({of.raw for of in pictures}) > 60
    assert pictures[0] != picture(made, 8, 0)


def test_chunks_of_a_png() -> None:
    raw = seeds()["PNG"][0]
    assert joined(split(raw)) == raw
    assert split(raw[:-1]) == split(raw)[:-1]


# --- processes


def child(program: str, **options: Any) -> Child:
    return Child(
        [sys.executable, "-c", f"import os, signal, sys, time\nfor line in sys.stdin:\n {program}"], {}, **options
    )  # type: ignore[arg-type]


def ask(one: Child, line: str = "x") -> Reply:
    one.send(line)
    return one.receive()


def test_a_crash_is_seen_and_the_next_line_is_answered() -> None:
    one = child("os.abort() if 'bad' in line else print(line.strip(), flush=True)")
    assert ask(one, "first").text == "first"
    assert f"-{int(signal.SIGABRT)}" in ask(one, "bad").crash
    assert ask(one, "next").text == "next"
    assert one.close() == 0


def test_what_it_said_at_its_end_is_told() -> None:
    one = child("sys.exit('that was ' + line)")
    assert "that was too much" in ask(one, "too much").crash


def test_a_hang_is_seen() -> None:
    one = child("time.sleep(600) if 'bad' in line else print(line.strip(), flush=True)", seconds=20)
    assert ask(one, "first").text == "first"
    one._seconds = 1
    assert ask(one, "bad").hang
    one._seconds = 20
    assert ask(one, "next").text == "next"
    one.close()


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system tells no peaks: NOT RUN")
def test_memory_that_was_given_back_is_seen() -> None:
    one = child("len(bytearray(int(line))); print('done', flush=True)")
    ask(one, "1")
    assert 60 << 20 < ask(one, str(64 << 20)).taken < 80 << 20
    assert ask(one, "1").taken < 8 << 20
    one.close()


# --- verdicts

PNG = Picture(7, "PNG", b"\x89PNG\r\n\x1a\n", Preprocessing())
GIF = Picture(8, "GIF", b"GIF89a", Preprocessing())
HASH, OTHER = "0" * 64, "1" * 64
REFUSED = "error: /x/000007.png is damaged"
REFUSED_JPEG = REFUSED.replace(".png", ".jpg")


def outcome(of: Picture, python: str, cpp: str) -> str:
    return judge(of, read(Reply(f"100\t{python}")), read(Reply(f"100\t{cpp}"))).outcome


def test_verdicts_on_answers() -> None:
    assert outcome(PNG, HASH, HASH) == SAME
    assert outcome(PNG, REFUSED, REFUSED) == NEITHER
    assert outcome(PNG, HASH, OTHER) == outcome(PNG, REFUSED, HASH) == outcome(PNG, HASH, REFUSED) == DIFFERENT
    assert outcome(PNG, "escaped: KeyError: 'x'", HASH) == outcome(PNG, HASH, "") == ESCAPE
    assert outcome(PNG, "error: it is damaged", REFUSED) == ESCAPE
    no_format = "error: /x/000008.gif is not an image in a supported format (JPEG, PNG)"
    assert outcome(GIF, HASH, no_format) == PYTHON
    assert outcome(GIF, "error: /x/000008.gif is damaged", no_format) == NEITHER
    assert outcome(GIF, HASH, HASH) == outcome(GIF, HASH, "error: /x/000008.gif is damaged") == DIFFERENT


def test_verdicts_on_processes() -> None:
    fine = read(Reply(f"100\t{HASH}"))
    for reply, expected in (
        (Reply(crash="it ended with -11"), CRASH),
        (Reply(hang="no answer"), HANG),
        (Reply(f"100\t{HASH}", taken=IDLE + 1), OVER),
        (Reply(f"0\t{REFUSED}", taken=IDLE + 1), OVER),
        (Reply(f"{IDLE + 1}\t{HASH}", taken=IDLE + 1), SAME),
    ):
        other = fine if HASH in reply.text else read(Reply(f"0\t{REFUSED}"))
        assert judge(PNG, read(reply), other).outcome == judge(PNG, other, read(reply)).outcome == expected


def test_documented_differences() -> None:
    jpeg = Picture(7, "JPEG", b"\xff\xd8\xff\x01\xff\xd9", Preprocessing())
    assert outcome(jpeg, REFUSED_JPEG, HASH) == KNOWN
    assert outcome(jpeg, HASH, REFUSED_JPEG) == DIFFERENT
    assert outcome(jpeg, HASH, f"{REFUSED_JPEG} (Unsupported JPEG process: SOF type 0xc3)") == KNOWN
    progressive = Picture(7, "JPEG", b"\xff\xd8\xff\xc2", Preprocessing())
    assert outcome(progressive, HASH, OTHER) == KNOWN
    assert outcome(progressive, HASH, REFUSED_JPEG) == outcome(progressive, REFUSED_JPEG, HASH) == DIFFERENT
    headers = Picture(7, "PNG", PNG.raw + b"IHDRIHDR", Preprocessing())
    assert outcome(headers, REFUSED, HASH) == KNOWN
    assert outcome(headers, HASH, OTHER) == DIFFERENT


def test_verdicts_on_answers_among_others() -> None:
    same, refused = Answer("cat, stage 1", 0.9), Answer(error="/x/000007.png is damaged")
    assert judge_answer(PNG, Verdict(SAME), same, same).outcome == SAME
    assert judge_answer(PNG, Verdict(SAME), same, Answer("dog, stage 1", 0.9)).outcome == DIFFERENT
    assert judge_answer(PNG, Verdict(SAME), same, refused).outcome == ESCAPE
    assert judge_answer(PNG, Verdict(NEITHER), refused, same).outcome == ESCAPE
    assert judge_answer(PNG, Verdict(NEITHER), refused, Answer(error="it is damaged")).outcome == ESCAPE
    assert judge_answer(PNG, Verdict(PYTHON), same, refused).outcome == PYTHON
    assert judge_answer(PNG, Verdict(CRASH), same, same).outcome == CRASH
    assert judge_answer(PNG, Verdict(KNOWN, "why"), same, Answer("cat, stage 1", 0.8)) == Verdict(KNOWN, "why")
    assert "another label" in judge_answer(PNG, Verdict(KNOWN, "why"), same, Answer("dog, stage 1", 0.9)).why


# --- groups


def stand_in(folder: Path, answering: str, infer: str) -> Runtimes:
    """Runtimes whose decoders answer alike, with public classes that do as they are told."""
    program = folder / "infer"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\npaths = sys.argv[1 : sys.argv.index('--bundle')]\n{infer}\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    decoder = "print('9\\t' + '0' * 64, flush=True)"
    told = f"import json; paths = json.loads(line); {answering}"
    return Runtimes(child(decoder, warming=["x"]), child(decoder, warming=["x"]), child(told), program)


FINE = "print(json.dumps([['cat, stage 1', 0.9] for _ in paths]), flush=True)"
DOUBTS = "0.9 if len(paths) == 1 else 0.5"
INFER = "[print(json.dumps({'label': 'cat', 'stage': 1, 'probability': 0.9})) for _ in paths]"


@pytest.mark.parametrize(
    ("answering", "infer", "expected"),
    [
        (FINE, INFER, SAME),
        ("print(json.dumps({'escaped': 'KeyError: 1'}), flush=True)", INFER, ESCAPE),
        (FINE.replace("in paths", "in paths[1:]"), INFER, ESCAPE),
        (FINE.replace("['cat, stage 1', 0.9]", "{'escaped': 'TypeError'}"), INFER, ESCAPE),
        ("os.abort()", INFER, CRASH),
        (FINE, "os.abort()", CRASH),
        (FINE, INFER.replace("in paths", "in paths[1:]"), CRASH),
        # The whole image is answered otherwise when there are others.
        (FINE.replace("0.9", DOUBTS), INFER.replace("0.9", DOUBTS), ESCAPE),
        (FINE, INFER.replace("'cat'", "'dog'"), DIFFERENT),
    ],
)
def test_groups(answering: str, infer: str, expected: str, tmp_path: Path) -> None:
    runtimes = stand_in(tmp_path, answering, infer)
    pictures = [Picture(number, "PNG", PNG.raw, Preprocessing()) for number in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        verdicts = group(runtimes, pictures, Path(folder))
        assert {verdict.outcome for verdict in verdicts} == {expected}
        assert not [*Path(folder).iterdir()]
    for one in (runtimes.python, runtimes.cpp, runtimes.python_class):
        one.close()
