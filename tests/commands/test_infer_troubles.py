"""`sacvit-infer` where one image or its overlay makes trouble: the others are answered, and the exit code is 1."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLE = EXAMPLES / "int8/model.sacvit"
PICTURES = sorted((EXAMPLES / "pictures").iterdir())[:3]


def test_an_overlay_that_cant_be_written_costs_only_itself(command: Any, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    (drawn / f"{PICTURES[1].stem}.png").mkdir(parents=True)  # where the file should go
    done = command("sacvit-infer", *PICTURES, "--bundle", BUNDLE, "--overlay", drawn, expect=1)
    assert sum(path.is_file() for path in drawn.iterdir()) == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(errors) == 1 and f"can't write {drawn / PICTURES[1].stem}.png" in errors[0]
    assert "3 images; 1 not saved; " in done.stdout
    assert len(done.stdout.splitlines()) == 3 + 3


def test_an_overlay_that_cant_be_written_leaves_a_json_line(command: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    arguments = [PICTURES[0], "--bundle", BUNDLE, "--overlay", tmp_path / "file" / "a.png", "--json"]
    done = command("sacvit-infer", *arguments, expect=1)
    assert json.loads(done.stdout)["label"]
    assert done.stderr.startswith("Error: can't write")


def test_a_pipe_has_a_drawing_too(command: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    options = ["--bundle", BUNDLE, "--save", tmp_path / "drawn"]
    process = command.start("sacvit-infer", PICTURES[0], tmp_path / "pipe", *options)
    with (tmp_path / "pipe").open("wb") as pipe:
        pipe.write(PICTURES[1].read_bytes())
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [f"{PICTURES[0].stem}.png", "pipe.png"]
    assert f"saved: {tmp_path / 'drawn'}" in out


def test_a_cameras_folder(command: Any, tmp_path: Path) -> None:
    shutil.copy(PICTURES[1], tmp_path / "a.jfif")
    (tmp_path / "._a.jpg").write_bytes(b"\0\5\x16\7")
    os.mkfifo(tmp_path / "b.jpg")  # it hung
    done = command("sacvit-infer", tmp_path, "--bundle", BUNDLE, "--json")
    assert [Path(json.loads(line)["source"]).name for line in done.stdout.splitlines()] == ["a.jfif"]
    assert done.stderr == f"Note: {tmp_path}: 2 files skipped: ._a.jpg (hidden), b.jpg (a FIFO)\n"


def test_what_is_no_file_costs_only_itself(command: Any, tmp_path: Path) -> None:
    done = command("sacvit-infer", "/dev/stdin", "/dev/zero", PICTURES[0], "--bundle", BUNDLE, "--json", expect=1)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in answers[:2]:
        assert answer["error"] == f"can't read {answer['source']}: it is a device, not a file"
    assert answers[2]["label"]


def test_limits_are_options(command: Any) -> None:
    arguments = [PICTURES[1], "--bundle", BUNDLE, "--json"]
    refusals = (
        ("--max-memory", "5", "for one image; --max-memory"),
        ("--max-pixels", "99", "limit of 99; --max-pixels"),
    )
    for option, value, said in refusals:
        done = command("sacvit-infer", *arguments, option, value, expect=1)
        assert said in json.loads(done.stdout)["error"]
        assert option in command("sacvit-infer", *arguments, option, "0", expect=2).stderr
    done = command("sacvit-infer", *arguments, "--max-memory", "100", "--max-pixels", "1000000")
    assert json.loads(done.stdout)["label"]
