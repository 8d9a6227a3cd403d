"""A Normalize module inside the network: its mean and std are the preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint
from sacvit_deploy.export.overrides import Overrides

from .family_files import HALF
from .making import deit_weights

WEIGHTS = deit_weights(64, depth=1)
MEAN, STD = (0.48, 0.46, 0.4), (0.27, 0.26, 0.28)


def load(folder: Path, extra: dict[str, Tensor], prefix: str = "", config: Any = None, **flags: Any) -> Checkpoint:
    path = folder / "net.pth"
    torch.save({"model": {**{prefix + name: value for name, value in WEIGHTS.items()}, **extra}}, path)
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"pretrained_cfg": config}))
    return load_checkpoint(path, overrides=Overrides(**flags))


def buffers(mean: str, std: str, values: Any = (MEAN, STD), shape: Any = (1, 3, 1, 1)) -> dict[str, Tensor]:
    return {name: torch.tensor(value).reshape(shape) for name, value in zip((mean, std), values, strict=True)}


@pytest.mark.parametrize(
    ("prefix", "mean", "std", "shape"),
    [
        ("", "normalize.mean", "normalize.std", (1, 3, 1, 1)),
        ("", "mean", "std", (3,)),
        ("model.", "pixel_mean", "pixel_std", (3, 1, 1)),
        ("1.", "0.mean", "0.std", (1, 3, 1, 1)),
        ("vit.", "norm._mean", "norm._std", (3,)),
    ],
)
def test_buffers_are_taken_and_said(prefix: str, mean: str, std: str, shape: Any, tmp_path: Path) -> None:
    checkpoint = load(tmp_path, buffers(mean, std, shape=shape), prefix)
    made = checkpoint.model.config.preprocessing
    assert (made.mean, made.std) == (MEAN, STD)
    assert any(f"took `{mean}` and `{std}` as the preprocessing" in note for note in checkpoint.notes)
    assert any(
        note == "preprocessing from the weights: mean 0.48/0.46/0.4, std 0.27/0.26/0.28" for note in checkpoint.notes
    )
    assert not any("guessed mean" in note or "beside the network" in note for note in checkpoint.notes)


def test_files_that_say_the_same_or_nothing(tmp_path: Path) -> None:
    extra = buffers("mean", "std")
    for mean, std in ((MEAN, STD), ((0, 0, 0), (1, 1, 1))):
        checkpoint = load(tmp_path, extra, config={"mean": mean, "std": std, "crop_pct": 0.9})
        assert checkpoint.model.config.preprocessing.mean == MEAN


def test_files_that_contradict(tmp_path: Path) -> None:
    extra, config = buffers("normalize.mean", "normalize.std"), {"mean": HALF, "std": HALF}
    with pytest.raises(
        CheckpointError, match=r"`normalize.mean` is 0.48,0.46,0.4, and config.json says mean 0.5,.*twice"
    ):
        load(tmp_path, extra, config=config)
    checkpoint = load(tmp_path, extra, config=config, mean=HALF, std=STD)
    assert (checkpoint.model.config.preprocessing.mean, checkpoint.model.config.preprocessing.std) == (HALF, STD)
    assert "left out `normalize.mean` and `normalize.std`: --mean and --std go before them" in checkpoint.notes


def test_units_and_values_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="`mean` is 123.675,.*divide by 255, .* 0.485,0.456,0.406; say --mean and"
    ):
        load(tmp_path, buffers("mean", "std", ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))))
    with pytest.raises(CheckpointError, match="`std` is 0,1,1; say --mean and --std"):
        load(tmp_path, buffers("mean", "std", (MEAN, (0.0, 1.0, 1.0))))


def test_one_alone_is_no_normalisation(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="1 weight has no place in this model, `mean` first|`mean`"):
        load(tmp_path, {"mean": torch.zeros(3)})
