"""Labelled pictures for the tiny bundle: class folders and scenes made of the seven photographs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageOps

from sacvit_deploy import SACViT
from sacvit_deploy.calibration.calibration_inputs import Calibration, gather
from sacvit_deploy.evaluation.data import Float
from sacvit_deploy.evaluation.scenes import open_scenes

from .making import ROLES, both_answers, calibrate, on_the_border

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
    np.save(folder / "boxes.npy", np.tile(np.array([8, 8, 38, 38], np.int16), (count, 1)) if boxes is None else boxes)
    (folder / "scenes.json").write_text(json.dumps({"split": "test", "seed": 0, "count": count}))


@pytest.fixture(scope="session")
def make_scenes() -> object:
    """`write_scenes` for tests that need a split of their own."""
    return write_scenes


@pytest.fixture(scope="session")
def eval_set(model: SACViT, picture_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 scenes cut out of the photographs; truths are now stage 1's answer, now stage 2's."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(96):
        photo = Image.open(picture_paths[number % len(picture_paths)]).convert("RGB")
        side = int(min(photo.size) * rng.uniform(0.3, 1))
        left, top = (int(rng.integers(0, room - side + 1)) for room in photo.size)
        found.append(np.asarray(photo.crop((left, top, left + side, top + side)).resize((224, 224))))
    images = np.stack(found)
    ee, sac = both_answers(model, images)
    folder = tmp_path_factory.mktemp("eval_set")
    write_scenes(folder, images, np.where(np.arange(96) % 2, ee, sac))
    return folder


@pytest.fixture(scope="session")
def border(model: SACViT, eval_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 scenes on which stage 1, or stage 2, can't decide; the truth is what it says in fp32.

    Any rounding moves about half of them to the other side.
    """
    return _scenes_near_borders(model, eval_set, tmp_path_factory.mktemp("border"), np.zeros(30))


@pytest.fixture(scope="session")
def slopes(model: SACViT, eval_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 scenes at growing distances from where an answer changes: the coarser a variant, the more of them it loses."""
    return _scenes_near_borders(model, eval_set, tmp_path_factory.mktemp("slopes"), np.geomspace(0.01, 0.4, 30))


def _scenes_near_borders(model: SACViT, eval_set: Path, folder: Path, back: Float) -> Path:
    parts = [on_the_border(model, np.load(eval_set / "images.npy"), stage, back) for stage in (0, 1)]
    images, truths = (np.concatenate(part) for part in zip(*parts, strict=True))
    write_scenes(folder, images, truths)
    return folder


@pytest.fixture(scope="session")
def fp32(tiny_bundle: Path) -> Mapping[str, onnx.ModelProto]:
    """The bundle's fp32 engines with their weights, by role; change copies only."""
    return {role: onnx.load(str(tiny_bundle / f"{role}.fp32.onnx")) for role in ROLES}


@pytest.fixture(scope="session")
def calibration(model: SACViT, eval_set: Path) -> Calibration:
    """32 scenes taken through the cascade."""
    pictures = open_scenes(eval_set, 10, 224, model.config.preprocessing).pick(np.arange(32))
    return gather(model.cascade, pictures, eta=model.eta, alphas=[0.5])


@dataclass(frozen=True)
class Calibrated:
    """A bundle with a calibrated int8 variant, and what the command said. Shared: write nothing into the bundle."""

    bundle: Path
    said: str
    plot: Path


@pytest.fixture(scope="session")
def calibrated(tiny_bundle: Path, eval_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """The tiny bundle after `sacvit calibrate` with labelled scenes."""
    folder = tmp_path_factory.mktemp("calibrated")
    bundle, plot = folder / "tiny.sacvit", folder / "damage.png"
    shutil.copytree(tiny_bundle, bundle)
    said = calibrate(bundle, "--calib", eval_set, "--pictures", 48, "--max-drop", 20, "--plot", plot)
    return Calibrated(bundle, said, plot)
