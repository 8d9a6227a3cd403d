"""`--csv` and `--jsonl`: a line for each answer, whole whatever happens, and continued by `--resume`."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.commands.answer_files import COLUMNS, AnswerFile, Format
from sacvit_deploy.errors import SacvitError, UsageError

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLE = EXAMPLES / "int8/model.sacvit"
PICTURES = sorted((EXAMPLES / "pictures").iterdir())[:6]
CONDITIONS = {"eta": 0.5, "alpha": 0.25, "precision": "int8", "bundle": "0123456789ab"}
each_form = pytest.mark.parametrize("form", ["csv", "jsonl"])


def answer(source: str) -> dict[str, Any]:
    return {"source": source, "label": 'a, "b"\nc', "index": 1, "timing_ms": {"ee": 1.5, "sac": 2}, **CONDITIONS}


def opened(path: Path, form: Format, *, resume: bool = False, **changed: Any) -> tuple[AnswerFile, list[str]]:
    notes: list[str] = []
    return AnswerFile(path, form, resume=resume, conditions={**CONDITIONS, **changed}, note=notes.append), notes


def sources(path: Path, form: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if form == "jsonl":
        return [json.loads(line)["source"] for line in text.splitlines()]
    return [row["source"] for row in csv.DictReader(text.splitlines())]


@each_form
def test_lines_are_there_at_once(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "out"
    file, _ = opened(path, form)
    names = ["a.jpg", "b\nc.jpg", 'ü, ".jpg', "clip.mp4#frame 3"]
    for number, name in enumerate(names):
        file.write(answer(name))
        assert len(sources(path, form)) == number + 1
    assert len(path.read_bytes().splitlines()) == len(names) + (form == "csv")
    if form == "csv":
        (row, *_) = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
        assert tuple(row) == COLUMNS
        assert (row["label"], row["ms"], row["eta"], row["error"]) == ('a, "b"\\nc', "3.5", "0.5", "")


@each_form
def test_an_existing_file_is_only_continued(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "out"
    file, _ = opened(path, form)
    for name in ("a.jpg", "b\nc.jpg", "gro\udcdf.png"):
        file.write(answer(name))
    file.write({"source": "bad.jpg", "error": "no image"})
    with pytest.raises(UsageError, match="exists; --resume goes on with it"):
        opened(path, form)
    file, notes = opened(path, form, resume=True)
    assert notes == []
    assert [file.has(name) for name in ("a.jpg", "b\nc.jpg", "gro\udcdf.png", "bad.jpg", "d.jpg")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    for name in ("a.jpg", "bad.jpg", "d.jpg"):
        file.write(answer(name))
    assert len(sources(path, form)) == 6


@each_form
def test_what_a_run_leaves_that_failed_at_its_start_is_taken(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "out"
    path.touch()
    for _ in range(2):
        file, _ = opened(path, form)
        file.close()
    file, _ = opened(path, form)
    file.write(answer("a.jpg"))
    assert sources(path, form) == ["a.jpg"]
    with pytest.raises(UsageError, match="exists"):
        opened(path, form)


@each_form
def test_names_that_are_hard_to_tell_apart(tmp_path: Path, form: Format) -> None:
    names = ["a\nb.png", "a\\nb.png", "a\\\nb.png", "source"]
    for name in names:
        file, _ = opened(tmp_path / "out", form, resume=True)
        assert not file.has(name)
        file.write(answer(name))
        file.close()
    file, _ = opened(tmp_path / "out", form, resume=True)
    assert all(file.has(name) for name in names)


@each_form
def test_a_line_that_was_cut_is_written_anew(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "out"
    file, _ = opened(path, form)
    for name in ("a.jpg", "b.jpg"):
        file.write(answer(name))
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:-cut])
        file, notes = opened(path, form, resume=True)
        lines = whole[:-cut].count(b"\n") - (form == "csv")
        assert len(file.done) == max(lines, 0)
        assert (notes == []) == (whole[:-cut][-1:] in (b"\n", b""))
        for name in ("a.jpg", "b.jpg"):
            file.write(answer(name))
        file.close()
        assert path.read_bytes() == whole


@each_form
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("eta", 0.6, "has answers with eta 0.5, here it is 0.6; take --eta 0.5, or name another file"),
        ("alpha", 0.3, "take --alpha 0.25"),
        ("precision", "fp32", "take --precision int8"),
        ("bundle", "f" * 12, "take the former bundle"),
    ],
)
def test_answers_to_other_questions_are_not_mixed(
    tmp_path: Path, form: Format, name: str, value: object, said: str
) -> None:
    file, _ = opened(tmp_path / "out", form)
    file.write(answer("a.jpg"))
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / "out", form, resume=True, **{name: value})
    assert said in str(caught.value)


@each_form
@pytest.mark.parametrize("data", [b"hello\n", b"{}\n", b"\xff\xfe\n", b"1,2,3\n", b"\0\0\0\n", b'["source"]\n'])
def test_other_files_are_left_alone(tmp_path: Path, form: Format, data: bytes) -> None:
    path = tmp_path / "out"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="line 1 of .* is no answer of this command; name another file"):
        opened(path, form, resume=True)
    assert path.read_bytes() == data


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("lines", [0, 1])
@pytest.mark.parametrize(("left_out", "added"), [({"position", "fallback"}, ()), (set(), ("later",))])
def test_another_versions_columns(
    tmp_path: Path, left_out: set[str], added: tuple[str, ...], lines: int, resume: bool
) -> None:
    path = tmp_path / "out.csv"
    columns = [*(name for name in (*COLUMNS[:-1], *added) if name not in left_out), "error"]
    data = ",".join(columns) + "\n" + lines * ("a.jpg" + "," * (len(columns) - 1) + "\n")
    path.write_text(data)
    with pytest.raises(UsageError) as caught:
        opened(path, "csv", resume=resume)
    assert str(caught.value) == f"{path} has the columns of another version of sacvit-deploy; name another file"
    assert path.read_text() == data


def test_what_cant_be_written_is_said() -> None:
    with pytest.raises(SacvitError, match="can't write /dev/full: No space left"):
        opened(Path("/dev/full"), "csv")
    with pytest.raises(SacvitError, match="can't write /none/out: No such file"):
        opened(Path("/none/out"), "jsonl")


@pytest.mark.slow
def test_a_killed_run_is_resumed(command: Any, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(120):
        (many / f"{number:03}.jpg").symlink_to(PICTURES[number % 6])
    (many / "bad.jpg").write_bytes(b"")
    files = ["--csv", tmp_path / "out.csv", "--jsonl", tmp_path / "out.jsonl"]
    call = ["sacvit-infer", many, "--bundle", BUNDLE, "--batch", "4", *files]
    process = command.start(*call)
    for _ in range(20):
        assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    before = len(sources(tmp_path / "out.jsonl", "jsonl"))
    assert 0 < before < 120
    with (tmp_path / "out.csv").open("ab") as file:
        file.write(b"torn,")
    assert "exists; --resume goes on" in command(*call, expect=2).stderr
    assert "has answers with eta" in command(*call, "--eta", "0.9", "--resume", expect=2).stderr
    done = command(*call, "--resume", expect=1)  # for the bad image
    assert f"{before} answered before; 1 failed" in done.stdout
    assert "the last line of" in done.stderr
    expected = sorted(str(path) for path in many.iterdir())
    for form in ("csv", "jsonl"):
        assert sorted(sources(tmp_path / f"out.{form}", form)) == expected
    again = command(*call, "--resume", expect=1)
    assert "1 image; 120 answered before; 1 failed" in again.stdout


def test_resume_needs_something_to_go_on_with(command: Any, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"\0\0\0\x20ftypisom" + bytes(50))
    for arguments, said in (
        ([PICTURES[0], "--resume"], "--csv and --jsonl"),
        (["-", "--resume", "--csv", tmp_path / "a"], "can't know which images of - were answered"),
        (
            [clip, "--resume", "--csv", tmp_path / "a", "--save", tmp_path / "b.mp4"],
            f"out of {tmp_path / 'b.mp4'}; go on without",
        ),
        ([PICTURES[0], "-", "--keep", "latest"], "--keep latest is for cameras, streams and pipes"),
    ):
        assert said in command("sacvit-infer", *arguments, "--bundle", BUNDLE, expect=2).stderr
