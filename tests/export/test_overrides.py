"""What flags, files and guesses make of preprocessing and labels, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import CheckpointError, LabelError
from sacvit_deploy.export.checkpoint_options import preprocessing_options
from sacvit_deploy.export.overrides import Overrides, labels_of, preprocessing_of
from sacvit_deploy.export.settings import Settings

HALF, QUARTER = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
SAID = Settings(
    mean=HALF,
    std=HALF,
    crop=0.9,
    resize="squash",
    sources={"mean": "config.json", "std": "config.json", "crop": "config.json", "resize": "config.json"},
)


def test_flags_go_before_files_and_these_before_a_guess() -> None:
    base = Preprocessing(resize_rounding="nearest")
    made, lines = preprocessing_of(SAID, Overrides(std=QUARTER, crop=1.0), base)
    assert made == Preprocessing("bicubic", 1.0, HALF, QUARTER, "squash", "nearest")
    assert lines[:3] == [
        "preprocessing from config.json: mean 0.5, squashed to a square",
        "preprocessing from --std: std 0.25",
        "preprocessing from --crop: crop 1",
    ]
    assert len(lines) == 4
    assert lines[3].startswith("no file says interpolation: guessed bicubic; ") and "--interpolation" in lines[3]


def test_a_guess_is_said_aloud() -> None:
    made, lines = preprocessing_of(Settings(), Overrides(), Preprocessing())
    assert made == Preprocessing() and len(lines) == 1
    assert "no file says mean, std, crop, interpolation: guessed mean 0.485/0.456/0.406 (ImageNet)" in lines[0]
    assert "--mean, --std, --crop, --interpolation" in lines[0]
    assert preprocessing_of(Settings(), Overrides(), Preprocessing(), guessed=False) == (Preprocessing(), [])


def test_labels(tmp_path: Path) -> None:
    said = Settings(labels=("a", "b", "a"), sources={"labels": "config.json"})
    labels, lines = labels_of(said, Overrides(), 3)
    assert labels == ["a", "b", "a"] and lines[0] == "labels: from config.json" and "a (0 and 2)" in lines[1]
    (tmp_path / "names.txt").write_text("x\ny\nz\n")
    assert labels_of(said, Overrides(labels=tmp_path / "names.txt"), 3) == (
        ["x", "y", "z"],
        ["labels: from --labels names.txt"],
    )
    labels, lines = labels_of(Settings(), Overrides(), 3)
    assert labels is None and "class 0, class 1, ...; --labels FILE|FOLDER names them" in lines[0]


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    said = Settings(labels=("a", "b"), sources={"labels": "config.json"})
    with pytest.raises(CheckpointError, match="config.json names 2 classes, the weights have 3; .*--labels"):
        labels_of(said, Overrides(), 3)
    (tmp_path / "names.txt").write_text("x\ny\n")
    with pytest.raises(LabelError, match="names.txt has 2 labels for 3 classes"):
        labels_of(said, Overrides(labels=tmp_path / "names.txt"), 3)


@click.command()
@preprocessing_options
def show(**given: object) -> None:
    click.echo(repr(given))


def test_options() -> None:
    run = CliRunner().invoke
    assert "'mean': None, 'std': None, 'crop': None, 'interpolation': None" in run(show, []).output
    given = run(show, ["--mean", "0.5", "--std", "0.1,0.2,0.3", "--crop", "0.9", "--interpolation", "bilinear"])
    assert given.output == (
        "{'mean': (0.5, 0.5, 0.5), 'std': (0.1, 0.2, 0.3), 'crop': 0.9, 'interpolation': 'bilinear'}\n"
    )


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--mean", "0.5,0.5"], "is not three numbers"),
        (["--mean", "grey"], "not a list of numbers"),
        (["--mean", "nan"], "is not three numbers"),
        (["--mean", "123.675,116.28,103.53"], "divide by 255, if these are of 0 to 255: 0.485,0.456,0.406"),
        (["--std", "58.395,57.12,57.375"], "no std of pixels from 0 to 1; divide by 255"),
        (["--std", "0.5,0,0.5"], "would divide by 0"),
        (["--std", "-1"], "would divide by 0"),
        (["--crop", "0.05"], "not in the range"),
        (["--crop", "nan"], "not a finite number"),
        (["--interpolation", "lanczos"], "is not one of"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], match: str) -> None:
    result = CliRunner().invoke(show, arguments)
    assert result.exit_code == 2 and match in " ".join(result.output.replace("\u2502", " ").split())
