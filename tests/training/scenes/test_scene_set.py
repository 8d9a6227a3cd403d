"""Scenes read for training: mirrored, downsampled, zoomed in, with boxes and labels that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.config import Geometry, ModelConfig, Preprocessing
from sacvit_deploy.training.scenes.classes import LABELS, MIRROR
from sacvit_deploy.training.scenes.dataset import Scenes, open_split
from sacvit_deploy.training.scenes.scene_set import SceneSet, mirror_half, object_tokens, read_batch, read_half_batch


class _Always(np.random.Generator):
    """Random generator whose `random` is always `value`, so that all images or none are mirrored or zoomed."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, size: int | None = None) -> Any:  # type: ignore[override]
        return self.value if size is None else np.full(size, self.value)


def test_mirrored_images_get_mirrored_labels(rendered: Path) -> None:
    scenes, rows = open_split(rendered), np.arange(30)
    upright, mirrored = (mirror_half(read_batch(scenes, rows), _Always(v)) for v in (0.9, 0.1))
    assert np.array_equal(upright.pixels, scenes.images) and np.array_equal(upright.labels, scenes.labels)
    assert np.array_equal(mirrored.pixels, scenes.images[:, :, ::-1])
    assert [LABELS[i] for i in mirrored.labels] == [LABELS[MIRROR[i]] for i in scenes.labels]
    assert not np.array_equal(mirrored.labels, upright.labels)


def test_half_size_view_is_the_mean_of_two_by_two_pixels(rendered: Path) -> None:
    scenes, rows = open_split(rendered), np.arange(8)
    half = read_half_batch(scenes, rows, _Always(0.9), zoom_share=0.0).pixels
    exact = np.asarray(scenes.images[rows], np.float64).reshape(8, 112, 2, 112, 2, 3).mean(axis=(2, 4))
    assert np.abs(half - exact).max() <= 0.5


def test_zoomed_view_holds_the_whole_object(rendered: Path) -> None:
    """Paint each object's box white in black images: all of it must be in the cut, unless it is too large for one."""
    scenes = open_split(rendered)
    painted = np.zeros_like(scenes.images)
    for image, (left, top, right, bottom) in zip(painted, scenes.boxes, strict=True):
        image[top:bottom, left:right] = 255
    scenes = Scenes(painted, scenes.labels, scenes.object_px, scenes.boxes)
    cut = read_half_batch(scenes, np.arange(30), _Always(0.9), zoom_share=1.0).pixels
    sides = scenes.boxes[:, 2:] - scenes.boxes[:, :2]
    fits = sides.max(axis=1) <= 104
    assert 0 < fits.sum() < 30
    assert np.array_equal((cut[fits] == 255).all(axis=3).sum(axis=(1, 2)), sides[fits].prod(axis=1))
    assert (cut[~fits] > 0).any()


def test_images_are_normalised_by_the_formula(rendered: Path) -> None:
    scenes, rows = open_split(rendered), np.array([4, 20])
    preprocessing = Preprocessing(crop=1.0)
    config = ModelConfig(Geometry(width=16, depth=1, heads=1, classes=60), preprocessing=preprocessing)
    expected = (scenes.images[rows + 5] / 255 - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    image = SceneSet(scenes, config, start=5).eval_batch(rows).image
    np.testing.assert_allclose(image.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def test_object_tokens_are_those_the_box_touches() -> None:
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.26, 0.51, 0.49, 0.74], [0.3, 0.2, 0.6, 0.3]])
    seen = object_tokens(boxes, 4).reshape(3, 4, 4)
    assert seen[0].all()
    assert np.argwhere(seen[1]).tolist() == [[2, 1]]
    assert np.argwhere(seen[2]).tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]


def test_boxes_follow_the_images(rendered: Path) -> None:
    """Paint boxes white in black images, mirror and zoom them: white must be where the returned boxes say."""
    scenes = open_split(rendered)
    painted = np.zeros_like(scenes.images)
    for image, (left, top, right, bottom) in zip(painted, scenes.boxes, strict=True):
        image[top:bottom, left:right] = 255
    scenes, rows = Scenes(painted, scenes.labels, scenes.object_px, scenes.boxes), np.arange(30)
    for value in (0.1, 0.9):
        whole = read_batch(scenes, rows)
        zoomed = read_half_batch(scenes, rows, _Always(value), zoom_share=1.0)
        for batch in (mirror_half(whole, _Always(value)), mirror_half(zoomed, _Always(value))):
            for image, box in zip(batch.pixels, batch.boxes, strict=True):
                ys, xs = np.nonzero(image[..., 0] > 127)
                seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
                assert np.abs(box * len(image) - seen).max() <= 1
