"""Evaluation sets, calibration inputs and a calibrated bundle, all made of the seven photographs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from sacvit_deploy import SACViT
from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs, collect_inputs
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.scenes import open_scenes
from tests.evaluation.conftest import class_folder, command, views
from tests.evaluation.making import write_scenes

from .making import ROLES, both_answers, calibrate, on_the_border

__all__ = ["class_folder", "command", "views"]  # fixtures that the tests of evaluation have, too


@pytest.fixture(scope="session")
def eval_set(model: SACViT, image_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 scenes cut out of the photographs; the truth is stage 1's answer for half of them, else stage 2's."""
    rng = np.random.default_rng(1)
    scenes = []
    for number in range(96):
        photo = Image.open(image_paths[number % len(image_paths)]).convert("RGB")
        side = int(min(photo.size) * rng.uniform(0.3, 1))
        left, top = (int(rng.integers(0, room - side + 1)) for room in photo.size)
        scenes.append(np.asarray(photo.crop((left, top, left + side, top + side)).resize((224, 224))))
    images = np.stack(scenes)
    ee, sac = both_answers(model, images)
    folder = tmp_path_factory.mktemp("eval_set")
    write_scenes(folder, images, np.where(np.arange(96) % 2, ee, sac))
    return folder


@pytest.fixture(scope="session")
def border(model: SACViT, eval_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 scenes between two answers of stage 1, or of stage 2; the truth is its answer in fp32.

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
def calibration(model: SACViT, eval_set: Path) -> CalibrationInputs:
    """32 scenes taken through the cascade."""
    scenes = open_scenes(eval_set, 10, 224, model.config.preprocessing).pick(np.arange(32))
    return collect_inputs(model.cascade, scenes, eta=model.eta, alphas=[0.5])


@dataclass(frozen=True)
class Calibrated:
    """A bundle with a calibrated int8 variant, and the command's output. Shared: write nothing into the bundle."""

    bundle: Path
    output: str
    plot: Path


@pytest.fixture(scope="session")
def calibrated(tiny_bundle: Path, eval_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    """The tiny bundle after `sacvit calibrate` with labelled scenes."""
    folder = tmp_path_factory.mktemp("calibrated")
    bundle, plot = folder / "tiny.sacvit", folder / "damage.png"
    shutil.copytree(tiny_bundle, bundle)
    output = calibrate(bundle, "--calib", eval_set, "--pictures", 48, "--max-drop", 20, "--plot", plot)
    return Calibrated(bundle, output, plot)
