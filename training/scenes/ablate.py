"""Ablations on rendered scenes: short runs that each change one choice of the method or the recipe.

All start from the same stage 1 (`sacvit train --scenes DATA --stage-one N --steps 0` makes one), see the same batches,
and are measured on the test scenes. A finished variant is not run again.

    python -m sacvit_deploy.training.scenes.ablate --scenes DATA --init stage_one.safetensors --out FOLDER --steps 300
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
import torch

from sacvit_deploy.commands.common import run_command
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.training.measure import Accuracies, measure_accuracies
from sacvit_deploy.training.memory import keep_memory
from sacvit_deploy.training.parallel import fast_bf16, team_device
from sacvit_deploy.training.recipe import DENSE, Recipe
from sacvit_deploy.training.scenes.dataset import open_split
from sacvit_deploy.training.scenes.scene_set import SceneSet
from sacvit_deploy.training.start import from_weights
from sacvit_deploy.training.trainer import Trainer

# Changed fields of the method and of the recipe, which have no field name in common.
VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "background = features": {"background": "features"},
    "class_token = union": {"class_token": "union"},
    "background = features, class_token = union": {"background": "features", "class_token": "union"},
    "fusion = expand": {"fusion": "expand"},
    "fusion = none": {"fusion": "none"},
    "positions = separate": {"positions": "separate"},
    "scores from the last block": {"score_beta": 0.0},
    "random targets": {"random_targets": True},
    "attention = global": {"attention": "global"},
    "selection = window": {"selection": "window"},
    "stage 1 learns from labels, too": {"ee_loss": "ce"},
    "clusters from the start": {"dense": 0.0},
    "no loss on where it looks": {"attention_loss_weight": 0.0},
}


@click.command()
@click.option("--scenes", type=click.Path(path_type=Path), required=True)
@click.option("--init", type=click.Path(path_type=Path), required=True, help="Checkpoint with a trained stage 1.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for results.jsonl.")
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--batch", type=click.IntRange(min=1), default=128, show_default=True)
@click.option("--lr", type=float, default=6e-4, show_default=True)
@click.option("--optimiser", type=click.Choice(["adamw", "muon"]), default="adamw", show_default=True)
@click.option("--dense", type=click.FloatRange(0, 1), default=DENSE, help="Share before clusters.  [default: 4/7]")
@click.option("--look", "attention_loss_weight", type=float, default=0.2, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), help="Number of test scenes to measure on.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Run these alone; may be repeated.")
def command(
    scenes: Path, init: Path, out: Path, limit: int | None, only: tuple[str, ...], steps: int, lr: float, **given: Any
) -> None:
    """Run every variant that has no result yet, then print the table."""
    keep_memory()
    torch.set_num_threads(usable_cores())
    base = Recipe(amounts=(0, steps), unit="steps", rates=(lr, lr), smoothing=0.0, average=0.99, **given)
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.jsonl"
    lines = results.read_text().splitlines() if results.exists() else []
    rows: dict[str, dict[str, Any]] = {row["variant"]: row for row in map(json.loads, lines)}
    settings = json.loads(json.dumps({**base.to_dict(), "limit": limit}))
    if any(row["settings"] != settings for row in rows.values()):
        raise UsageError(f"{results} holds results of other settings; choose another --out")
    for name in only or VARIANTS:
        if name in rows:
            continue
        accuracies = run_variant(VARIANTS[name], base, init, scenes, limit)
        accuracy = {"ee": accuracies.ee, "sac": accuracies.sac, "pictures": accuracies.images}
        rows[name] = {"variant": name, **accuracy, "settings": settings}
        with results.open("a") as file:
            file.write(json.dumps(rows[name]) + "\n")
        click.echo(f"{name}: stage 1 {accuracies.ee:.1%}, stage 2 {accuracies.sac:.1%}")
    click.echo(ablation_table(rows))


def run_variant(changes: dict[str, Any], base: Recipe, init: Path, folder: Path, limit: int | None) -> Accuracies:
    """Train one variant and measure it on the test scenes."""
    of_recipe = {name: value for name, value in changes.items() if hasattr(base, name)}
    method = {name: value for name, value in changes.items() if name not in of_recipe}
    recipe = dataclasses.replace(base, **of_recipe)
    device = team_device()
    classes = load_checkpoint(init).model.config.geometry.classes
    model, _ = from_weights(init, classes, method, recipe.seed)
    dataset = SceneSet(open_split(folder / "train"), model.config)
    trainer = Trainer(model, recipe, dataset, device=device, amp=fast_bf16(device))
    while trainer.advance():
        trainer.train_step()
    test = SceneSet(open_split(folder / "test"), model.config)
    return measure_accuracies(trainer.average.eval(), test, limit=limit, with_random_targets=recipe.random_targets)


def ablation_table(rows: dict[str, dict[str, Any]]) -> str:
    """Format the rows as a Markdown table, best stage 2 first, with differences from the defaults in points."""
    base = rows.get("defaults")
    lines = ["| variant | stage 1 | stage 2 | against the defaults |", "|---|---|---|---|"]
    for name, row in sorted(rows.items(), key=lambda item: -float(item[1]["sac"])):
        against = f"{100 * (row['sac'] - base['sac']):+.1f}" if base else "-"
        lines.append(f"| {name} | {100 * row['ee']:.1f} | {100 * row['sac']:.1f} | {against} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(command)
