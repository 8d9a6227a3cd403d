"""The trainer: it learns, it stops and goes on without a trace, and what it saves can be loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sacvit_deploy.config import Geometry, ModelConfig, Preprocessing
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.training.classes import LABELS
from sacvit_deploy.training.dataset import Scenes
from sacvit_deploy.training.evaluate import answer, table, tabulate, wilson
from sacvit_deploy.training.recipe import ETA, Recipe
from sacvit_deploy.training.train import run
from sacvit_deploy.training.trainer import Trainer

CONFIG = ModelConfig(
    geometry=Geometry(image_size=224, patch_size=16, width=16, depth=2, heads=2, classes=60),
    preprocessing=Preprocessing(crop=1.0),
)
RECIPE = Recipe(batch=8, steps=(3, 3), rate_one=3e-3, rate_both=3e-3)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Pictures of one colour that tells the label, enough for a tiny model."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [220, 220, 220]])[labels]
    images = np.clip(colours[:, None, None] + rng.integers(-15, 15, (40, 224, 224, 3)), 0, 255).astype(np.uint8)
    boxes = np.tile(np.array([60, 60, 120, 120], np.int16), (40, 1))
    return Scenes(images, labels.astype(np.int64), np.full(40, 60, np.float32), boxes)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return isinstance(other, type(one)) and len(one) == len(other) and all(map(_equal, one, other))
    return (
        torch.equal(one, other) if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) else one == other
    )


def _weights(trainer: Trainer) -> dict[str, object]:
    state = trainer.state()
    return {"model": state["model"], "average": state["average"], "optimiser": state["optimiser"]}


@pytest.mark.parametrize("killed_after", [2, 4])
def test_killed_run_goes_on_as_if_it_had_not_been(scenes: Scenes, tmp_path: Path, killed_after: int) -> None:
    """Kill a run in either phase, after its last save, so that a step is lost and done again."""
    unbroken = Trainer(CONFIG, RECIPE, scenes)
    run(unbroken, tmp_path / "unbroken", save_minutes=1e9)

    class Killed(Exception):
        pass

    broken = Trainer(CONFIG, RECIPE, scenes)
    step, count = broken.train_step, iter(range(1000))

    def mortal_step() -> dict[str, float]:
        if next(count) == killed_after:
            step()
            raise Killed
        return step()

    broken.train_step = mortal_step  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run(broken, tmp_path / "broken", save_minutes=0.0)
    assert not _equal(_weights(broken), _weights(unbroken))

    resumed = Trainer(CONFIG, RECIPE, scenes)
    run(resumed, tmp_path / "broken", save_minutes=1e9)
    assert (resumed.phase, resumed.step) == (unbroken.phase, unbroken.step) == (1, 3)
    assert _equal(_weights(resumed), _weights(unbroken))


def test_a_changed_recipe_is_remembered(scenes: Scenes, tmp_path: Path) -> None:
    run(Trainer(CONFIG, RECIPE, scenes), tmp_path)
    longer = Trainer(CONFIG, Recipe(batch=8, steps=(3, 5)), scenes)
    run(longer, tmp_path)
    history = load_checkpoint(tmp_path / "model.safetensors").provenance["history"]
    assert [(h["phase"], h["step"], h["recipe"]["steps"]) for h in history] == [(0, 0, [3, 3]), (1, 3, [3, 5])]
    assert longer.step == 5


def test_another_seed_gives_other_weights(scenes: Scenes) -> None:
    one, other = (Trainer(CONFIG, Recipe(batch=8, steps=(1, 0), seed=seed), scenes) for seed in (0, 1))
    assert not _equal(_weights(one), _weights(other))


def test_it_learns_and_what_it_writes_loads_and_is_measured(scenes: Scenes, tmp_path: Path) -> None:
    recipe = Recipe(batch=16, steps=(25, 12), rate_one=5e-3, rate_both=3e-3, average=0.5, zoom_share=0.2)
    run(Trainer(CONFIG, recipe, scenes, held=8), tmp_path, log_every=6)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"one", "both"}
    assert lines[0]["loss"] > 3.0
    assert lines[-1]["ee_accuracy"] > 0.85 and lines[-1]["sac_accuracy"] > 0.85

    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.labels == list(LABELS) and checkpoint.eta == ETA
    assert checkpoint.model.config == CONFIG
    assert checkpoint.provenance["finished"] and checkpoint.provenance["scenes"] == 32

    answers = answer(checkpoint.model, scenes, batch=16)
    assert answers.ee_right.mean() > 0.9 and answers.sac_right.mean() > 0.9
    first = next(iter(tabulate(answers, scenes, eta=1.0)))
    assert first.continuing == 100.0 and first.cascade == first.sac
    assert next(iter(tabulate(answers, scenes, eta=0.0))).continuing == 0.0
    assert "| all | 40 |" in table([first])


def test_rate_warms_up_peaks_and_falls(scenes: Scenes) -> None:
    trainer = Trainer(CONFIG, Recipe(steps=(1000, 0), warmup=0.1, rate_one=1.0), scenes)
    rates = []
    for step in (0, 50, 100, 550, 1000):
        trainer.step = step
        rates.append(trainer.rate())
    assert (
        rates[:3] == pytest.approx([0.01, 0.5, 1.0])
        and rates[3] == pytest.approx(0.51)
        and rates[4] == pytest.approx(0.02)
    )


def test_held_back_scenes_are_never_trained_on(scenes: Scenes) -> None:
    trainer = Trainer(CONFIG, RECIPE, scenes, held=8)
    spoilt = Scenes(scenes.images.copy(), scenes.labels.copy(), scenes.object_px, scenes.boxes)
    spoilt.images[32:], spoilt.labels[32:] = 0, 59
    other = Trainer(CONFIG, RECIPE, spoilt, held=8)
    for _ in range(3):
        assert trainer.train_step() == other.train_step()


def test_wilson_interval_matches_known_values() -> None:
    assert wilson(50, 100) == pytest.approx((40.38, 59.62), abs=0.01)
    assert wilson(0, 10) == pytest.approx((0.0, 27.75), abs=0.01)
    assert wilson(0, 0) == (0.0, 100.0)
