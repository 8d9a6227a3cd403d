"""The model a run starts from: fresh weights, or those of a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors
import torch

from sacvit_deploy.config import Geometry, Preprocessing
from sacvit_deploy.errors import CheckpointError, UsageError
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.overrides import Overrides
from sacvit_deploy.export.reading import METADATA_KEY
from sacvit_deploy.training.start import fresh, from_weights, method_fields
from tests.export.making import deit_weights

GEOMETRY = Geometry(image_size=96, width=64, depth=2, heads=1, classes=5)


def test_method_fields_are_read_with_their_types() -> None:
    fields = method_fields(("background=features", "alpha=0.4", "score_first_block=1"))
    assert fields == {"background": "features", "alpha": 0.4, "score_first_block": 1}
    for wrong in ("background", "=features", "colour=red"):
        with pytest.raises(UsageError, match="write FIELD=VALUE"):
            method_fields((wrong,))
    with pytest.raises(UsageError, match="background"):
        fresh(GEOMETRY, method_fields(("background=sky",)), Preprocessing(), 0)


def test_a_window_can_be_asked_for() -> None:
    model = fresh(GEOMETRY, method_fields(("selection=window", "region_size=2", "alpha=1")), Preprocessing(), 0)
    assert model.config.window == 4
    assert model(torch.rand(2, 3, 96, 96)).targets.shape == (2, 4)
    with pytest.raises(UsageError, match="region_size 4"):
        fresh(GEOMETRY, method_fields(("selection=window", "region_size=4")), Preprocessing(), 0)


def test_the_seed_decides_fresh_weights() -> None:
    one, same, other = (fresh(GEOMETRY, {}, Preprocessing(), seed).head.weight for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, fresh(GEOMETRY, {"alpha": 0.4}, Preprocessing(crop=1.0), 3))
    return path


def test_everything_of_the_same_shape_is_taken(checkpoint: Path) -> None:
    model, notes = from_weights(checkpoint, 5, {}, 0)
    expected = fresh(GEOMETRY, {"alpha": 0.4}, Preprocessing(crop=1.0), 3)
    assert model.config == expected.config
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in model.state_dict().items())
    assert len(notes) == 1
    other, notes = from_weights(checkpoint, 9, {"fusion": "expand"}, 0)
    assert other.head.weight.shape == (9, 64)
    assert notes[1] == "these start fresh: head, reuse_block"


def test_a_start_from_older_weights_keeps_their_rounding() -> None:
    """New checkpoints say how S / crop is rounded; those from before the field rounded to the nearest."""
    older, _ = from_weights(Path(__file__).parents[1] / "data" / "tiny.safetensors", 5, {}, 0)
    assert older.config.preprocessing.resize_rounding == "nearest"


def test_a_new_checkpoint_says_that_it_rounds_down(checkpoint: Path) -> None:
    with safetensors.safe_open(checkpoint, "pt") as file:
        stored = json.loads(file.metadata()[METADATA_KEY])
    assert stored["config"]["preprocessing"]["resize_rounding"] == "floor"
    assert load_checkpoint(checkpoint).model.config.preprocessing.resize_rounding == "floor"


@pytest.mark.parametrize("back", [False, True])
def test_position_tables_are_converted(checkpoint: Path, tmp_path: Path, back: bool) -> None:
    model, _ = from_weights(checkpoint, 5, {"positions": "separate"}, 0)
    if back:
        save_checkpoint(tmp_path / "separate.safetensors", model)
        model, _ = from_weights(tmp_path / "separate.safetensors", 5, {"positions": "shared"}, 0)
    expected = fresh(GEOMETRY, {}, Preprocessing(), 3)
    torch.testing.assert_close(model.high_positions(), expected.high_positions())
    torch.testing.assert_close(model.low_positions(), expected.low_positions())


def test_preprocessing_is_the_checkpoints_unless_told(checkpoint: Path) -> None:
    own = Preprocessing(crop=1.0)
    model, _ = from_weights(checkpoint, 5, {}, 0)
    assert model.config.preprocessing == own
    overrides = Overrides(mean=(0.5, 0.5, 0.5), interpolation="bilinear")
    model, notes = from_weights(checkpoint, 5, {}, 0, overrides)
    assert model.config.preprocessing == replace(own, mean=(0.5, 0.5, 0.5), interpolation="bilinear")
    assert any("mean 0.5" in note and "--mean" in note for note in notes)


def test_what_a_refusal_names_can_be_said_here_too(tmp_path: Path) -> None:
    """Heads that no weight shows, and which of two sets of weights: the flags of the export."""
    weights = deit_weights(96)
    average = {key: value + 1 for key, value in weights.items()}
    torch.save({"model": weights, "model_ema": average}, tmp_path / "a.pth")
    model, _ = from_weights(tmp_path / "a.pth", 5, {}, 0, weights="ema", heads=4, family="deit")
    assert model.config.geometry.heads == 4
    assert torch.equal(model.norm.weight, average["norm.weight"])
    model, _ = from_weights(tmp_path / "a.pth", 5, {}, 0, weights="model", heads=2)
    assert torch.equal(model.norm.weight, weights["norm.weight"])


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        from_weights(tmp_path / "model.pth", 5, {}, 0)
