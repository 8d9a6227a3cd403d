"""The model and the data sets of a run, opened as the command's options ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sacvit_deploy.config import Geometry, Preprocessing
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.training.datasets import Dataset
from sacvit_deploy.training.folder_set import FolderSet, split_files
from sacvit_deploy.training.scenes.classes import LABELS
from sacvit_deploy.training.scenes.dataset import open_scenes
from sacvit_deploy.training.scenes.scene_set import SceneSet
from sacvit_deploy.training.start import HEAD_WIDTH, SIZES, fresh, from_weights, method_fields

HELD_OUT_SCENES = 1024  # of the training split, to watch progress; the test split is for the final figures
Sources = tuple[ReferenceSACViT, Dataset, Dataset, dict[str, Any]]


def open_sources(given: dict[str, Any], say: Callable[[str], object]) -> Sources:
    """Open the model, the images to train on, those to measure on, and their description for the checkpoint."""
    if given["scenes"] is not None:
        return _scenes(given, say)
    train, val = split_files(given["data"], given["val_share"], given["seed"])
    model = _model(given, len(train.labels), Preprocessing(), say)
    config, workers = model.config, max(2, given["threads"] or 2)
    sets = [FolderSet(files, config, flip=not given["no_flip"], workers=workers, warn=say) for files in (train, val)]
    return model, sets[0], sets[1], {"trained_on": f"pictures in {len(train.labels)} folders"}


def _scenes(given: dict[str, Any], say: Callable[[str], object]) -> Sources:
    scenes = open_scenes(given["scenes"] / "train")
    held_out = min(HELD_OUT_SCENES, len(scenes) // 10)
    model = _model(given, len(LABELS), Preprocessing(crop=1.0), say)
    cut = len(scenes) - held_out
    sets = SceneSet(scenes, model.config, 0, cut), SceneSet(scenes, model.config, cut)
    return model, sets[0], sets[1], {"trained_on": "object scenes, sacvit_deploy.training"}


def _model(
    given: dict[str, Any], classes: int, preprocessing: Preprocessing, say: Callable[[str], object]
) -> ReferenceSACViT:
    method = method_fields(given["method"])
    if given["init"] is not None:
        model, notes = from_weights(given["init"], classes, method, given["seed"])
        for note in notes:
            say(f"note: {note}")
        for option in ("width", "depth", "image_size"):
            has = getattr(model.config.geometry, option)
            if given[option] not in (None, has):
                name = f"--{option.replace('_', '-')} {given[option]}"
                raise UsageError(f"{name}: the checkpoint of --init has {has}; leave out the option")
        return model
    width, depth = SIZES[given["size"]]
    width, depth, size = given["width"] or width, given["depth"] or depth, given["image_size"] or 224
    heads = max(1, width // HEAD_WIDTH)
    geometry = Geometry(image_size=size, width=width, depth=depth, heads=heads, classes=classes)
    return fresh(geometry, method, preprocessing, given["seed"])
