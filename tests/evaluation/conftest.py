"""Labelled images for the tiny bundle: class folders and scenes made of the seven photographs."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sacvit_deploy import SACViT

from .making import write_scenes

# The fixture that runs commands as processes which can't import torch; the tests of the commands have it, too.
_spec = importlib.util.spec_from_file_location("commands_conftest", Path(__file__).parents[1] / "commands/conftest.py")
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
command = _module.command


@pytest.fixture(scope="session")
def views(image_paths: list[Path]) -> list[Image.Image]:
    """28 images: every photograph as it is, mirrored, turned and inverted."""
    images = []
    for path in image_paths:
        image = Image.open(path).convert("RGB")
        turned = image.rotate(90, expand=True)
        images += [image, ImageOps.mirror(image), turned, ImageOps.invert(image)]
    return images


@pytest.fixture(scope="session")
def class_folder(views: list[Image.Image], model: SACViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FOLDER/thing N/*.png. The truth is stage 1's answer for some, stage 2's for others, neither's for the rest."""
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
