"""The model and the data sets of a run, opened as the command's options ask for."""

from __future__ import annotations

from typing import Any

from sacvit_deploy.config import Geometry, Preprocessing
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.overrides import FLAGS, Overrides, preprocessing_of
from sacvit_deploy.export.settings_fields import Settings
from sacvit_deploy.training.datasets import Dataset, Say
from sacvit_deploy.training.folder_set import FolderSet, split_files
from sacvit_deploy.training.scenes.classes import LABELS
from sacvit_deploy.training.scenes.dataset import open_split
from sacvit_deploy.training.scenes.scene_set import SceneSet
from sacvit_deploy.training.start import HEAD_WIDTH, SIZES, fresh, from_weights, method_fields

HELD_OUT_SCENES = 1024  # of the training split, to watch progress; the test split is for the final figures


def open_sources(given: dict[str, Any], say: Say) -> tuple[ReferenceSACViT, Dataset, Dataset, dict[str, Any]]:
    """Open the model, the images to train on, those to measure on, and their description for the checkpoint."""
    if given["scenes"] is not None:
        scenes = open_split(given["scenes"] / "train")
        # Scenes are seen whole, whatever the weights of --init saw before.
        model = _model(given | {"crop": given["crop"] or 1.0}, len(LABELS), say)
        cut = len(scenes) - min(HELD_OUT_SCENES, len(scenes) // 10)
        data = {"trained_on": "object scenes, sacvit_deploy.training"}
        return model, SceneSet(scenes, model.config, 0, cut), SceneSet(scenes, model.config, cut), data
    files = split_files(given["data"], given["val_share"], given["seed"])
    labels, workers = files[0].labels, max(2, given["threads"] or 2)
    model = _model(given, len(labels), say)
    flip = not given["no_flip"]
    train, val = (FolderSet(part, model.config, flip=flip, workers=workers, warn=say) for part in files)
    return model, train, val, {"trained_on": f"pictures in {len(labels)} folders"}


def _model(given: dict[str, Any], classes: int, say: Say) -> ReferenceSACViT:
    method = method_fields(given["method"])
    overrides = Overrides(**{name: given[name] for name in FLAGS})
    if given["init"] is not None:
        model, notes = from_weights(
            given["init"],
            classes,
            method,
            given["seed"],
            overrides,
            image_size=given["image_size"],
            **{name: given[name] for name in ("weights", "heads", "family")},
        )
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
    heads = given["heads"] or max(1, width // HEAD_WIDTH)
    geometry = Geometry(image_size=size, width=width, depth=depth, heads=heads, classes=classes)
    preprocessing, _ = preprocessing_of(Settings(), overrides, Preprocessing())
    return fresh(geometry, method, preprocessing, given["seed"])
