"""Labelled pictures for the tiny bundle: class folders and scenes made of the seven photographs."""

from __future__ import annotations

import importlib.util
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sacvit_deploy import SACViT

# The runner of commands as processes that can't import torch, which the tests of the commands have, too.
_spec = importlib.util.spec_from_file_location("commands_conftest", Path(__file__).parents[1] / "commands/conftest.py")
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
command = _module.command


@pytest.fixture(scope="session")
def views(picture_paths: list[Path]) -> list[Image.Image]:
    """28 pictures: every photograph in four ways."""
    found = []
    for path in picture_paths:
        image = Image.open(path).convert("RGB")
        turned = image.rotate(90, expand=True)
        found += [image, ImageOps.mirror(image), turned, ImageOps.invert(image)]
    return found


@pytest.fixture(scope="session")
def class_folder(views: list[Image.Image], model: SACViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FOLDER/thing N/*.png. Truths are now stage 1's answer, now stage 2's, now neither's: each is right on some."""
    folder = tmp_path_factory.mktemp("classes")
    for number, image in enumerate(views):
        stage = model.predict(image, eta=(0.0, 1.0, 1.0)[number % 3])
        truth = stage.label if number % 5 else f"thing {number % 10}"
        (folder / truth).mkdir(exist_ok=True)
        image.save(folder / truth / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def scenes_folder(views: list[Image.Image], model: SACViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered split as the training room writes it: 28 scenes with boxes of all sizes."""
    folder = tmp_path_factory.mktemp("scenes") / "test"
    rng = np.random.default_rng(5)
    images = np.stack([np.asarray(ImageOps.fit(image, (224, 224))) for image in views])
    sizes = np.geomspace(16, 150, len(images)).astype(np.float32)
    start = np.array([rng.integers(0, 224 - int(size), 2) for size in sizes])
    boxes = np.concatenate([start, start + sizes.astype(int)[:, None]], axis=1).astype(np.int16)
    labels = np.array([zlib.crc32(image.tobytes()) % 10 for image in images])
    labels[::2] = [model.predict(image, eta=1.0).index for image in images[::2]]
    write_scenes(folder, images, labels, sizes, boxes)
    return folder.parent


def write_scenes(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    sizes: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> None:
    """Write a split."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(images)
    np.save(folder / "images.npy", images.astype(np.uint8))
    np.save(folder / "labels.npy", labels.astype(np.int64))
    np.save(folder / "object_px.npy", np.full(count, 30, np.float32) if sizes is None else sizes)
    np.save(folder / "boxes.npy", np.tile(np.int16([8, 8, 38, 38]), (count, 1)) if boxes is None else boxes)
    (folder / "scenes.json").write_text(json.dumps({"split": "test", "seed": 0, "count": count}))


@pytest.fixture(scope="session")
def make_scenes() -> object:
    """`write_scenes` for tests that need a split of their own."""
    return write_scenes
