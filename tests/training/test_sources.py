"""The preprocessing of a model that training starts: flags, the checkpoint of --init, the kind of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from sacvit_deploy.config import Geometry, Preprocessing
from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.training.cli import command
from sacvit_deploy.training.sources import open_sources
from sacvit_deploy.training.start import fresh
from tests.evaluation.making import write_scenes

HALF = (0.5, 0.5, 0.5)


def preprocessing(*arguments: object) -> Preprocessing:
    """Open what `sacvit train` would train with these arguments."""
    given: dict[str, Any] = command.make_context("train", ["--out", "run", *map(str, arguments)]).params
    model, *_ = open_sources(given, lambda message: None)
    return model.config.preprocessing


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("cat", "owl"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (80, 80)).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def init(tmp_path: Path) -> Path:
    geometry = Geometry(image_size=224, width=64, depth=1, heads=1, classes=2)
    save_checkpoint(tmp_path / "init.safetensors", fresh(geometry, {}, Preprocessing(crop=0.9, mean=HALF), 0))
    return tmp_path / "init.safetensors"


def test_images(images: Path, init: Path) -> None:
    tiny = ("--data", images, "--width", 64, "--depth", 1)
    assert preprocessing(*tiny) == Preprocessing()
    flags = ("--mean", "0.5", "--std", "0.25", "--crop", "0.95", "--interpolation", "bilinear")
    chosen = Preprocessing("bilinear", 0.95, HALF, (0.25, 0.25, 0.25))
    assert preprocessing(*tiny, *flags) == chosen
    assert preprocessing("--data", images, "--init", init) == Preprocessing(crop=0.9, mean=HALF)
    assert preprocessing("--data", images, "--init", init, *flags) == chosen
    with pytest.raises(click.BadParameter, match="would divide by 0"):
        preprocessing(*tiny, "--std", "0")


def test_scenes_are_seen_whole(init: Path, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes" / "train", np.zeros((20, 224, 224, 3)), np.zeros(20))
    scenes = ("--scenes", tmp_path / "scenes")
    assert preprocessing(*scenes, "--width", 64, "--depth", 1) == Preprocessing(crop=1.0)
    assert preprocessing(*scenes, "--init", init) == Preprocessing(crop=1.0, mean=HALF)
    assert preprocessing(*scenes, "--init", init, "--crop", "0.9") == Preprocessing(crop=0.9, mean=HALF)
