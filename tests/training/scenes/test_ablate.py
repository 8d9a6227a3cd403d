"""Ablations on a few single-coloured scenes: each variant runs once, and the table lists them all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click.testing
import numpy as np

from sacvit_deploy.config import Geometry, Method, Preprocessing
from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.training.recipe import Recipe
from sacvit_deploy.training.scenes import ablate
from sacvit_deploy.training.start import fresh


def write_scenes(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    labels = np.arange(count) % 3
    images = rng.integers(0, 40, (count, 224, 224, 3), dtype=np.uint8)
    images[np.arange(count), :, :, labels] += 200
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels.astype(np.int64))
    np.save(folder / "object_px.npy", np.full(count, 60, np.float32))
    np.save(folder / "boxes.npy", np.tile(np.array([60, 60, 120, 120], np.int16), (count, 1)))
    (folder / "scenes.json").write_text("{}")


def test_variants_run_once_and_stand_in_a_table(tmp_path: Path) -> None:
    write_scenes(tmp_path / "data" / "train", 24)
    write_scenes(tmp_path / "data" / "test", 9)
    geometry = Geometry(image_size=224, width=32, depth=1, heads=1, classes=60)
    save_checkpoint(tmp_path / "one.safetensors", fresh(geometry, {}, Preprocessing(crop=1.0), 0))
    arguments = ["--scenes", str(tmp_path / "data"), "--init", str(tmp_path / "one.safetensors")]
    arguments += ["--out", str(tmp_path / "out"), "--steps", "2", "--batch", "8"]
    names = ["defaults", "positions = separate", "random targets", "selection = window"]
    chosen = [part for name in names for part in ("--only", name)]
    first = click.testing.CliRunner().invoke(ablate.command, arguments + chosen)
    assert first.exit_code == 0, first.output
    assert first.output.count("stage 2 ") == 1 + len(names)
    results = (tmp_path / "out" / "results.jsonl").read_text()
    again = click.testing.CliRunner().invoke(ablate.command, arguments + chosen)
    assert (tmp_path / "out" / "results.jsonl").read_text() == results
    assert again.output == first.output[first.output.index("| variant") :]
    assert "| defaults | " in again.output and "| +0.0 |" in again.output


def test_variants_change_what_their_names_say() -> None:
    fields = [{field.name for field in dataclasses.fields(kind)} for kind in (Method, Recipe)]
    assert not fields[0] & fields[1]
    for name, changes in ablate.VARIANTS.items():
        assert len(changes) == (0 if name == "defaults" else 1 + name.count(", class_token"))
        assert changes.keys() <= fields[0] | fields[1]
