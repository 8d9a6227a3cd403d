"""Rendered splits on disk, and the batches read from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.training import batches, dataset
from sacvit_deploy.training.backgrounds import Split
from sacvit_deploy.training.batches import normalise, read_batch, read_half_batch, rows_of
from sacvit_deploy.training.classes import LABELS, MIRROR
from sacvit_deploy.training.dataset import Scenes, open_scenes, read_images, render_split
from sacvit_deploy.training.scenes import Library, render


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, library_of: Callable[[Split], Library]) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "BLOCK", 7)  # several blocks for each worker
        render_split(library_of("test"), path, 30, seed=5, workers=2)
    return path


def test_files_hold_the_scenes_in_order(folder: Path, library_of: Callable[[Split], Library]) -> None:
    scenes = open_scenes(folder)
    assert scenes.images.shape == (30, 224, 224, 3) and scenes.images.dtype == np.uint8
    for index in (0, 6, 7, 29):
        scene = render(library_of("test"), 5, index)
        assert np.array_equal(scenes.images[index], scene.pixels)
        assert scenes.labels[index] == scene.label and tuple(scenes.boxes[index]) == scene.box
        assert scenes.object_px[index] == pytest.approx(scene.object_px)
    assert json.loads((folder / "scenes.json").read_text())["count"] == 30


def test_more_scenes_lengthen_what_is_there(tmp_path: Path, library_of: Callable[[Split], Library]) -> None:
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
    assert open_scenes(tmp_path / "grown").labels[3] == 59  # what is there is not rendered again


@pytest.mark.parametrize("seed, count", [(6, 12), (5, 8)])
def test_scenes_of_another_seed_do_not_stay(
    seed: int, count: int, tmp_path: Path, library_of: Callable[[Split], Library], capsys: pytest.CaptureFixture[str]
) -> None:
    render_split(library_of("test"), tmp_path, 10, seed=5, workers=2)
    before = np.array(open_scenes(tmp_path).images)
    capsys.readouterr()
    render_split(library_of("test"), tmp_path, count, seed=seed, workers=2)
    after = open_scenes(tmp_path)
    if seed == 5:  # more than asked for is there already
        assert np.array_equal(after.images, before) and "10 scenes are there" in capsys.readouterr().out
    else:
        assert len(after) == 12 and not np.array_equal(after.images[:10], before)


def test_unfinished_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.dataset"):
        open_scenes(tmp_path)


def test_rows_are_read_the_same_from_disk_and_from_memory(folder: Path) -> None:
    images = open_scenes(folder).images
    rows = np.array([3, 29, 0])
    assert np.array_equal(read_images(images, rows), read_images(np.array(images), rows))


def test_every_pass_sees_every_scene_once() -> None:
    passes = [np.concatenate([rows_of(0, epoch * 5 + step, 20, 4) for step in range(5)]) for epoch in range(2)]
    assert all(sorted(p) == list(range(20)) for p in passes)
    assert not np.array_equal(passes[0], passes[1])


class _Always:
    """A generator whose `random` is always `value`, so that everything or nothing is mirrored or zoomed."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.integers = np.random.default_rng(0).integers

    def random(self, size: int | None = None) -> np.ndarray | float:
        return self.value if size is None else np.full(size, self.value)


def test_mirrored_pictures_get_mirrored_labels(folder: Path) -> None:
    scenes, rows = open_scenes(folder), np.arange(30)
    plain, mirrored = (read_batch(scenes, rows, _Always(v)) for v in (0.9, 0.1))  # type: ignore[arg-type]
    assert np.array_equal(plain.pixels, scenes.images) and np.array_equal(plain.labels, scenes.labels)
    assert np.array_equal(mirrored.pixels, scenes.images[:, :, ::-1])
    assert [LABELS[i] for i in mirrored.labels] == [LABELS[MIRROR[i]] for i in scenes.labels]
    assert not np.array_equal(mirrored.labels, plain.labels)


def test_half_size_view_is_the_mean_of_two_by_two_pixels(folder: Path) -> None:
    scenes, rows = open_scenes(folder), np.arange(8)
    half = read_half_batch(scenes, rows, _Always(0.9), zoom_share=0.0).pixels  # type: ignore[arg-type]
    exact = np.asarray(scenes.images[rows], np.float64).reshape(8, 112, 2, 112, 2, 3).mean(axis=(2, 4))
    assert np.abs(half - exact).max() <= 0.5


def test_zoomed_view_holds_the_whole_object(folder: Path) -> None:
    """Paint each object's box white in black pictures: all of it must be in the cut, unless it's too large for one."""
    scenes = open_scenes(folder)
    painted = np.zeros_like(scenes.images)
    for image, (left, top, right, bottom) in zip(painted, scenes.boxes, strict=True):
        image[top:bottom, left:right] = 255
    scenes = Scenes(painted, scenes.labels, scenes.object_px, scenes.boxes)
    cut = read_half_batch(scenes, np.arange(30), _Always(0.9), zoom_share=1.0).pixels  # type: ignore[arg-type]
    sides = scenes.boxes[:, 2:] - scenes.boxes[:, :2]
    fits = sides.max(axis=1) <= 104
    assert 0 < fits.sum() < 30
    assert np.array_equal((cut[fits] == 255).all(axis=3).sum(axis=(1, 2)), sides[fits].prod(axis=1))
    assert (cut[~fits] > 0).any()


def test_object_tokens_are_those_the_box_touches() -> None:
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.26, 0.51, 0.49, 0.74], [0.3, 0.2, 0.6, 0.3]])
    seen = batches.object_tokens(boxes, 4).reshape(3, 4, 4)
    assert seen[0].all()
    assert np.argwhere(seen[1]).tolist() == [[2, 1]]
    assert np.argwhere(seen[2]).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_boxes_follow_the_pictures(folder: Path) -> None:
    """Paint boxes white in black pictures, mirror and zoom them: white must be where the returned boxes say."""
    scenes = open_scenes(folder)
    painted = np.zeros_like(scenes.images)
    for image, (left, top, right, bottom) in zip(painted, scenes.boxes, strict=True):
        image[top:bottom, left:right] = 255
    scenes, rows = Scenes(painted, scenes.labels, scenes.object_px, scenes.boxes), np.arange(30)
    for value in (0.1, 0.9):
        whole = read_batch(scenes, rows, _Always(value))  # type: ignore[arg-type]
        zoomed = read_half_batch(scenes, rows, _Always(value), zoom_share=1.0)  # type: ignore[arg-type]
        for batch in (whole, zoomed):
            for image, box in zip(batch.pixels, batch.boxes, strict=True):
                ys, xs = np.nonzero(image[..., 0] > 127)
                seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                assert np.abs(box * len(image) - seen).max() <= 1


def test_normalise_matches_the_formula() -> None:
    preprocessing = Preprocessing()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    expected = (pixels / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    assert torch.allclose(
        normalise(pixels, preprocessing), torch.from_numpy(expected).permute(0, 3, 1, 2).float(), atol=1e-5
    )


def test_jitter_is_bounded_and_differs_between_pictures() -> None:
    image = torch.ones(4, 3, 2, 2)
    out = batches.jitter(image, np.random.default_rng(0))
    assert (out - 1).abs().max() <= 0.3 + 1e-6
    assert len(set(out[:, 0, 0, 0].tolist())) == 4
