"""The trainer: it learns, an interrupted run resumes bit for bit, and its checkpoint loads."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sacvit_deploy.config import Geometry, ModelConfig, Preprocessing
from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.training.measure import measure_accuracies
from sacvit_deploy.training.plot import images_seen
from sacvit_deploy.training.recipe import OptimiserName, Recipe, Unit
from sacvit_deploy.training.scenes.classes import LABELS
from sacvit_deploy.training.scenes.dataset import Scenes
from sacvit_deploy.training.scenes.scene_set import SceneSet
from sacvit_deploy.training.start import fresh
from sacvit_deploy.training.train import run_training
from sacvit_deploy.training.trainer import Trainer, random_targets

EXAMPLE = Path(__file__).parents[2] / "examples" / "model.safetensors"
CONFIG = ModelConfig(
    geometry=Geometry(image_size=224, patch_size=16, width=16, depth=2, heads=2, classes=60),
    preprocessing=Preprocessing(crop=1.0),
)
RECIPE = Recipe(
    batch=8, amounts=(3, 3), unit="steps", rates=(3e-3, 3e-3), attention_loss_weight=0.2, ee_loss="ce", dense=0.4
)


def trainer_of(scenes: Scenes, recipe: Recipe = RECIPE, held_out: int = 0, zoom: float = 0.5) -> Trainer:
    model = fresh(CONFIG.geometry, {}, CONFIG.preprocessing, recipe.seed)
    return Trainer(model, recipe, SceneSet(scenes, CONFIG, 0, len(scenes) - held_out, zoom))


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    """Make images whose single colour tells the label, enough for a tiny model."""
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
    return {"model": state["model"], "average": state["average"], "optimisers": state["optimisers"]}


@pytest.mark.parametrize(("killed_after", "optimiser"), [(2, "adamw"), (4, "adamw"), (4, "muon")])
def test_a_killed_run_resumes_exactly(
    scenes: Scenes, tmp_path: Path, killed_after: int, optimiser: OptimiserName
) -> None:
    """Kill a run in either phase, after its last save, so that a step is lost and repeated."""
    recipe = dataclasses.replace(RECIPE, optimiser=optimiser)
    unbroken = trainer_of(scenes, recipe)
    run_training(unbroken, tmp_path / "unbroken", save_minutes=1e9, held_out=None)

    class Killed(Exception):
        pass

    broken = trainer_of(scenes, recipe)
    step, count = broken.train_step, iter(range(1000))

    def mortal_step() -> dict[str, float]:
        if next(count) == killed_after:
            step()
            raise Killed
        return step()

    broken.train_step = mortal_step  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run_training(broken, tmp_path / "broken", save_minutes=0.0, held_out=None)
    assert not _equal(_weights(broken), _weights(unbroken))

    resumed = trainer_of(scenes, recipe)
    run_training(resumed, tmp_path / "broken", save_minutes=1e9, held_out=None)
    assert (resumed.phase, resumed.step) == (unbroken.phase, unbroken.step) == (1, 3)
    assert _equal(_weights(resumed), _weights(unbroken))


def test_a_changed_recipe_is_remembered(scenes: Scenes, tmp_path: Path) -> None:
    run_training(trainer_of(scenes), tmp_path, held_out=None)
    longer = trainer_of(scenes, dataclasses.replace(RECIPE, amounts=(3, 5)))
    run_training(longer, tmp_path, held_out=None)
    history = load_checkpoint(tmp_path / "model.safetensors").provenance["history"]
    assert [(h["phase"], h["step"], h["recipe"]["amounts"]) for h in history] == [(0, 0, [3, 3]), (1, 3, [3, 5])]
    assert longer.step == 5


def test_recipes_are_stored_under_the_names_of_older_files() -> None:
    """The keys equal those of the shipped checkpoint, so an older run resumes without a new entry in its history."""
    stored = load_checkpoint(EXAMPLE).provenance["history"][-1]["recipe"]
    assert set(Recipe(attention_loss_weight=0.2).to_dict()) == set(stored)
    assert Recipe(attention_loss_weight=0.2).to_dict()["look"] == stored["look"]


def test_a_run_resumes_with_another_optimiser(scenes: Scenes, tmp_path: Path) -> None:
    first = trainer_of(scenes)
    run_training(first, tmp_path, held_out=None)
    other = trainer_of(scenes, dataclasses.replace(RECIPE, amounts=(3, 4), optimiser="muon"))
    run_training(other, tmp_path, held_out=None)
    history = load_checkpoint(tmp_path / "model.safetensors").provenance["history"]
    assert [h["recipe"]["optimiser"] for h in history] == ["adamw", "muon"]
    moved = [not torch.equal(a, b) for a, b in zip(first.model.parameters(), other.model.parameters(), strict=True)]
    assert all(moved)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_every_parameter_has_one_optimiser(scenes: Scenes, optimiser: OptimiserName) -> None:
    trainer = trainer_of(scenes, dataclasses.replace(RECIPE, optimiser=optimiser))
    optimised = [id(p) for o in trainer.optimisers for group in o.param_groups for p in group["params"]]
    assert sorted(optimised) == sorted(id(p) for p in trainer.model.parameters())
    assert len(trainer.optimisers) == {"adamw": 1, "muon": 2}[optimiser]


def test_another_seed_gives_other_weights(scenes: Scenes) -> None:
    one, other = (trainer_of(scenes, dataclasses.replace(RECIPE, seed=seed)) for seed in (0, 1))
    assert not _equal(_weights(one), _weights(other))


def test_it_learns_and_its_checkpoint_loads_and_is_measured(scenes: Scenes, tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, batch=16, amounts=(36, 18), rates=(5e-3, 3e-3), average=0.5, smoothing=0.0)
    held_out = SceneSet(scenes, CONFIG, 32)
    trainer = trainer_of(scenes, recipe, held_out=8, zoom=0.1)
    run_training(trainer, tmp_path, held_out, eta=0.7, data={"trained_on": "colours"}, dtype=torch.float16, log_every=6)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {line["phase"] for line in lines} == {"one", "both"}
    assert lines[0]["loss"] > 3.0
    assert lines[-1]["ee_accuracy"] > 0.85 and lines[-1]["sac_accuracy"] > 0.85
    assert all(line["images_per_second"] > 0 for line in lines)
    assert [line["pictures"] for line in lines] == [96 * n for n in (1, 2, 3, 4, 5, 6, 1, 2, 3)]
    assert images_seen(lines) == pytest.approx([0.096 * n for n in range(1, 10)])

    checkpoint = load_checkpoint(tmp_path / "model.safetensors")
    assert checkpoint.labels == list(LABELS) and checkpoint.eta == 0.7
    assert checkpoint.model.config == CONFIG
    provenance = checkpoint.provenance
    assert provenance["finished"] and provenance["pictures"] == 32 and provenance["trained_on"] == "colours"
    accuracies = measure_accuracies(checkpoint.model.eval(), held_out)
    assert accuracies.images == 8 and min(accuracies.ee, accuracies.sac) > 0.8
    assert (provenance["held_ee"], provenance["held_sac"]) == pytest.approx(
        (accuracies.ee, accuracies.sac), abs=0.13
    )  # half precision


def test_rate_warms_up_peaks_and_falls(scenes: Scenes) -> None:
    recipe = dataclasses.replace(RECIPE, amounts=(1000, 0), warmup=0.1, rates=(1.0, 1.0))
    trainer = trainer_of(scenes, recipe)
    rates = []
    for step in (0, 50, 100, 550, 1000):
        trainer.step = step
        rates.append(trainer.rate())
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.51, 0.02])


def test_held_back_scenes_are_never_trained_on(scenes: Scenes) -> None:
    trainer = trainer_of(scenes, held_out=8)
    spoilt = Scenes(scenes.images.copy(), scenes.labels.copy(), scenes.object_px, scenes.boxes)
    spoilt.images[32:], spoilt.labels[32:] = 0, 59
    other = trainer_of(spoilt, held_out=8)
    for _ in range(3):
        assert trainer.train_step() == other.train_step()


def test_clusters_begin_after_their_share(scenes: Scenes) -> None:
    """At first stage 2 sees all tokens at full resolution and no background, then M targets, in clusters."""
    trainer = trainer_of(scenes, dataclasses.replace(RECIPE, amounts=(0, 5), dense=0.4))
    seen: list[tuple[int, int, bool]] = []
    stage_two = trainer.model.stage_two

    def watched(patches: Tensor, positions: Tensor, features: Tensor, background: Tensor, *, clusters: bool) -> Tensor:
        seen.append((patches.shape[1], background.shape[1], clusters))
        return stage_two(patches, positions, features, background, clusters=clusters)

    trainer.model.stage_two = watched  # type: ignore[method-assign, assignment]
    while trainer.advance():
        trainer.train_step()
    assert seen == [(196, 0, False)] * 2 + [(96, 25, True)] * 3


@pytest.mark.parametrize(("unit", "amount", "steps"), [("steps", 7, 7), ("epochs", 2, 10), ("epochs", 0, 0)])
def test_a_budget_is_kept(unit: Unit, amount: float, steps: int, scenes: Scenes) -> None:
    trainer = trainer_of(scenes, dataclasses.replace(RECIPE, amounts=(amount, 0), unit=unit))
    count = 0
    while trainer.advance():
        trainer.step += 1
        count += 1
    assert count == steps


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "another model"])
def test_a_damaged_state_is_refused_by_name(damage: str, scenes: Scenes, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    trainer_of(scenes).save(path)
    raw = path.read_bytes()
    spoilt = {"truncated": raw[: len(raw) // 2], "empty": b"", "text": b"no state"}
    if damage in spoilt:
        path.write_bytes(spoilt[damage])
    else:
        config = dataclasses.replace(CONFIG, geometry=dataclasses.replace(CONFIG.geometry, depth=3))
        model = fresh(config.geometry, {}, config.preprocessing, 0)
        Trainer(model, RECIPE, SceneSet(scenes, config)).save(path)
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        run_training(trainer_of(scenes), tmp_path, held_out=None)


def test_random_targets_are_ascending_and_as_many_as_selected_ones() -> None:
    targets = random_targets(CONFIG, 64, 3)
    assert targets.shape == (64, 24)
    assert bool((targets.diff(dim=1) > 0).all()) and int(targets.min()) >= 0 and int(targets.max()) < 49
    assert set(targets.flatten().tolist()) == set(range(49))
    assert not torch.equal(targets, random_targets(CONFIG, 64, 4))
