"""What a checkpoint holds beside its weights: names of classes, options of the training script."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pytest
import torch

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.settings import read_settings

from .family_files import HALF


def test_names_in_the_checkpoint() -> None:
    folders = {"class_to_idx": {"dog": 1, "cat": 0}, "classes": ["cat", "dog"], "epoch": 3}
    settings = read_settings({}, folders)
    assert settings.labels == ("cat", "dog") and settings.sources["labels"] == "the checkpoint"
    assert read_settings({}, {"classes": 2, "labels": [0, 1, 1]}).labels is None
    lightning = {"state_dict": {}, "hyper_parameters": {"class_names": ["cat", "dog"], "mean": 0.1}}
    assert read_settings({}, lightning).sources == {"labels": "the checkpoint's hyper_parameters"}
    for names in ({"cat": 0, "dog": 2}, {"cat": 0, "dog": 0}):
        with pytest.raises(CheckpointError, match="the checkpoint: 2 classes are numbered, but none has the number 1"):
            read_settings({}, {"class_to_idx": names})


@pytest.mark.parametrize("kind", [dict, lambda **fields: argparse.Namespace(**fields)])
def test_options_of_timms_training_script(kind: Any) -> None:
    silent = {"mean": None, "std": None, "crop_pct": None, "interpolation": "", "input_size": None, "num_classes": 5}
    assert read_settings({}, {"args": kind(**silent)}).said() == {}
    given = {**silent, "mean": [0.5] * 3, "std": [0.25] * 3, "crop_pct": 0.95, "input_size": [3, 96, 96]}
    settings = read_settings({}, {"args": kind(**given, train_interpolation="random")})
    assert settings.said() == {"mean": HALF, "std": (0.25, 0.25, 0.25), "crop": 0.95, "image_size": 96}
    with pytest.raises(CheckpointError, match="the checkpoint's args: std .* above 0"):
        read_settings({}, {"args": kind(**{**given, "std": [0.0] * 3})})
    # Other scripts mean other things by these words.
    assert read_settings({}, {"args": kind(std=0.02, interpolation="nearest", input_size=224)}).said() == {}


@pytest.mark.parametrize("odd", [["a"], "text", 3, {1, 2}, (0.5,), 1.5, b"x", True, np.zeros(3), torch.zeros(3)])
def test_options_of_an_odd_type_are_left_out_and_said(odd: Any) -> None:
    settings = read_settings({}, {"hyper_parameters": odd})
    assert settings.said() == {}
    kind = type(odd).__name__
    assert settings.notes == (f"the checkpoint's hyper_parameters is of type {kind}: nothing was read from it",)


@pytest.mark.parametrize(
    "values",
    [
        {1: 2, None: 3, ("a",): [4]},
        {"input_size": [3, "a", "a"]},
        {"input_size": [3, float("nan"), float("nan")]},
        {"mean": object(), "std": {"a": 1}, "classes": 5, "labels": torch.zeros(5)},
        {"classes": np.zeros((2, 2, 2)), "class_names": None},
    ],
)
def test_odd_options_say_nothing(values: dict[Any, Any]) -> None:
    assert read_settings({}, {"hyper_parameters": values}).said() == {}


def test_arrays_are_lists() -> None:
    values = {"mean": np.full(3, 0.5, np.float32), "std": torch.full((3,), 0.5), "classes": np.array(["cat", "dog"])}
    settings = read_settings({}, {"hyper_parameters": values, "class_names": np.array(["a", "b"])})
    assert (settings.mean, settings.std, settings.labels) == (HALF, HALF, ("a", "b"))


def test_lists_of_something_else_are_left_out_and_said() -> None:
    settings = read_settings({}, {"hyper_parameters": {"mean": [0.5, 0.5], "std": [0.1] * 4}})
    assert settings.said() == {} and len(settings.notes) == 2
    assert (
        settings.notes[0]
        == "the checkpoint's hyper_parameters: mean has no three values, so it was left out: [0.5, 0.5]"
    )


def test_names_without_an_order_are_said() -> None:
    settings = read_settings({}, {"classes": {"cat", "dog"}})
    assert settings.labels is None
    assert (
        "the checkpoint: its classes is a set, which has no order" in settings.notes[0]
        and "--labels" in settings.notes[0]
    )
    settings = read_settings({}, {"class_to_idx": ("dog", 3)})
    assert settings.labels is None and "its class_to_idx is read by no rule for class names" in settings.notes[0]
    assert read_settings({}, {"classes": ("cat", "dog")}).labels == ("cat", "dog")
    with pytest.raises(CheckpointError, match=r"half of a character, U\+D83D; give the names with --labels"):
        read_settings({}, {"classes": ["cat", "\ud83d"]})
