"""Rendered splits on disk: written by several processes, lengthened, read back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.errors import UsageError
from sacvit_deploy.training.scenes.backgrounds import Split
from sacvit_deploy.training.scenes.dataset import open_split, read_images, render_split
from sacvit_deploy.training.scenes.render import ObjectLibrary, render


def test_files_hold_the_scenes_in_order(rendered: Path, library_of: Callable[[Split], ObjectLibrary]) -> None:
    scenes = open_split(rendered)
    assert scenes.images.shape == (30, 224, 224, 3) and scenes.images.dtype == np.uint8
    for index in (0, 6, 7, 29):
        scene = render(library_of("test"), 5, index)
        assert np.array_equal(scenes.images[index], scene.pixels)
        assert scenes.labels[index] == scene.label and tuple(scenes.boxes[index]) == scene.box
        assert scenes.object_px[index] == pytest.approx(scene.object_px)
    assert json.loads((rendered / "scenes.json").read_text())["count"] == 30


def test_asking_for_more_scenes_lengthens_a_split(tmp_path: Path, library_of: Callable[[Split], ObjectLibrary]) -> None:
    library = library_of("test")
    render_split(library, tmp_path / "grown", 10, seed=5, workers=2)
    first = (tmp_path / "grown" / "labels.npy").stat().st_ino
    render_split(library, tmp_path / "grown", 25, seed=5, workers=2)
    render_split(library, tmp_path / "whole", 25, seed=5, workers=2)
    assert (tmp_path / "grown" / "labels.npy").stat().st_ino == first
    for name in ("images.npy", "labels.npy", "object_px.npy", "boxes.npy", "scenes.json"):
        assert (tmp_path / "grown" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    np.load(tmp_path / "grown" / "labels.npy", mmap_mode="r+")[3] = 59
    render_split(library, tmp_path / "grown", 30, seed=5, workers=2)
    assert open_split(tmp_path / "grown").labels[3] == 59  # existing scenes are not rendered again


@pytest.mark.parametrize("seed, count", [(6, 12), (5, 8)])
def test_scenes_of_another_seed_do_not_stay(
    seed: int,
    count: int,
    tmp_path: Path,
    library_of: Callable[[Split], ObjectLibrary],
    capsys: pytest.CaptureFixture[str],
) -> None:
    render_split(library_of("test"), tmp_path, 10, seed=5, workers=2)
    before = np.array(open_split(tmp_path).images)
    capsys.readouterr()
    render_split(library_of("test"), tmp_path, count, seed=seed, workers=2)
    after = open_split(tmp_path)
    if seed == 5:  # the folder holds more scenes than asked for
        assert np.array_equal(after.images, before) and "10 scenes are there" in capsys.readouterr().out
    else:
        assert len(after) == 12 and not np.array_equal(after.images[:10], before)


@pytest.mark.parametrize("room", ["training.scenes", "training"])
@pytest.mark.parametrize(
    ("name", "option"),
    [("dataset", "--assets"), ("assets", "--out"), ("make_examples", "--count"), ("ablate", "--scenes")],
)
def test_commands_run_under_both_names(room: str, name: str, option: str) -> None:
    command = [sys.executable, "-m", f"sacvit_deploy.{room}.{name}", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and option in result.stdout


def test_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"training\.scenes\.dataset"):
        open_split(tmp_path)


def test_rows_are_read_the_same_from_disk_and_from_memory(rendered: Path) -> None:
    images = open_split(rendered).images
    rows = np.array([3, 29, 0])
    assert np.array_equal(read_images(images, rows), read_images(np.array(images), rows))
