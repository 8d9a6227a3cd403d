"""`sacvit train`: trains on images and writes a checkpoint."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.commands.common import threads_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console import terminal
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.checkpoint_options import preprocessing_options, reading_options
from sacvit_deploy.glue import check_eta
from sacvit_deploy.training.recipe import DENSE, UNITS, Recipe

AMOUNT = click.FloatRange(min=0)


@click.command("train", cls=StrictCommand)
@click.option("--data", type=click.Path(path_type=Path), help="Images: FOLDER/<class>/, or FOLDER/train and /val.")
@click.option("--scenes", type=click.Path(path_type=Path), help="Scenes, by sacvit_deploy.training.scenes.dataset.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder; a run in it is resumed.")
@click.option("--init", type=click.Path(path_type=Path), help="Checkpoint to start from, such as a DeiT's.")
@click.option("--model", "size", type=click.Choice(["tiny", "small", "base"]), default="tiny", show_default=True)
@click.option("--width", type=click.IntRange(min=16), help="Width.  [default: the model's]")
@click.option("--depth", type=click.IntRange(min=1), help="Blocks.  [default: the model's]")
@click.option("--image-size", type=click.IntRange(min=32), help="S.  [default: 224, or as --init's]")
@preprocessing_options
@reading_options
@click.option("--method", multiple=True, metavar="FIELD=VALUE", help="A choice of the method; may be repeated.")
@click.option("--epochs", type=AMOUNT, help="Length of the training of both stages.  [default: 300]")
@click.option("--steps", type=AMOUNT, help="Length in steps, instead of --epochs.")
@click.option("--minutes", type=AMOUNT, help="Length in minutes; such a run does not repeat exactly.")
@click.option("--stage-one", type=AMOUNT, default=0, show_default=True, help="Train stage 1 alone first, so long.")
@click.option("--batch", type=click.IntRange(min=1), default=256, show_default=True, help="Over all processes.")
@click.option("--optimiser", type=click.Choice(["adamw", "muon"]), default="adamw", show_default=True)
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Peak learning rate.")
@click.option("--stage-one-lr", type=float, help="Peak while stage 1 trains alone.  [default: --lr]")
@click.option("--ee-loss", type=click.Choice(["kl", "ce"]), default="kl", show_default=True, help="Stage 1's loss.")
@click.option("--dense", type=click.FloatRange(0, 1), default=DENSE, help="Share before clusters.  [default: 4/7]")
@click.option("--smoothing", type=click.FloatRange(0, 0.9), default=0.1, show_default=True, help="Of the labels.")
@click.option("--weight-decay", type=AMOUNT, default=0.05, show_default=True)
@click.option("--average", type=click.FloatRange(0, 0.99999), default=0.9998, show_default=True, help="Of weights.")
@click.option("--look", "attention_loss_weight", type=AMOUNT, default=0, help="Scenes: attention loss's weight.")
@click.option("--random-targets", is_flag=True, help="An ablation: stage 2 sees random tokens.")
@click.option("--val-share", type=click.FloatRange(0.01, 0.9), default=0.1, show_default=True, help="Held out.")
@click.option("--no-flip", is_flag=True, help="Images: never mirror.")
@click.option("--eta", type=float, default=0.6, show_default=True, help="The checkpoint's default gate.")
@click.option("--half", is_flag=True, help="Save the checkpoint in half precision.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--amp/--no-amp", default=None, help="Compute in bfloat16.  [default: where that is fast]")
@click.option("--compile", "compiled", is_flag=True, help="Fuse layers with torch.compile.")
@threads_option
@click.option("--log-every", type=click.IntRange(min=1), default=50, show_default=True, help="Steps per line.")
def command(**given: Any) -> None:
    """Train a SAC-ViT on images or on rendered scenes, on the CPU, a GPU, or several (torchrun).

    Writes OUT/model.safetensors for sacvit-export, OUT/log.jsonl, and OUT/state.pt, so that the same command resumes.
    """
    _check(given)
    import torch  # here, so that --help needs no torch

    from sacvit_deploy.training.datasets import Say
    from sacvit_deploy.training.memory import keep_memory
    from sacvit_deploy.training.parallel import fast_bf16, join_team, team_device
    from sacvit_deploy.training.plot import plot_log
    from sacvit_deploy.training.run_folder import LOG
    from sacvit_deploy.training.sources import open_sources
    from sacvit_deploy.training.train import MODEL, run_training
    from sacvit_deploy.training.trainer import Trainer

    keep_memory()
    torch.set_num_threads(given["threads"] or usable_cores())
    team, device = join_team(), team_device()
    say: Say = terminal.say if team.leads else lambda message: None
    recipe = make_recipe(given)
    model, dataset, held_out, data = open_sources(given, say)
    geometry = model.config.geometry
    say(
        f"{len(dataset)} images of {geometry.classes} classes, {len(held_out)} held out; width {geometry.width}, depth "
        f"{geometry.depth}, {sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters; {device}, "
        f"{team.size} process{'es' * (team.size > 1)}"
    )
    amp = fast_bf16(device) if given["amp"] is None else given["amp"]
    trainer = Trainer(model, recipe, dataset, device=device, team=team, amp=amp, compiled=given["compiled"])
    dtype = torch.float16 if given["half"] else torch.float32
    run_training(
        trainer, given["out"], held_out, eta=given["eta"], data=data, dtype=dtype, log_every=given["log_every"]
    )
    skipped = {path for source in (dataset, held_out) for path in getattr(source, "unreadable", ())}
    if skipped:
        say(f"{len(skipped)} unreadable image{'s were' if len(skipped) > 1 else ' was'} skipped")
    if team.leads and (plotted := plot_log(given["out"] / LOG)):
        say(f"curves: {plotted}")
    say(f"next: sacvit-export --ckpt {given['out'] / MODEL}")


def _check(given: dict[str, Any]) -> None:
    """Raise UsageError for options that contradict each other, before torch is loaded."""
    if (given["data"] is None) == (given["scenes"] is None):
        raise UsageError("give either --data FOLDER with images or --scenes FOLDER with rendered scenes")
    if sum(given[unit] is not None for unit in UNITS) > 1:
        raise UsageError("give one of --epochs, --steps and --minutes")
    if given["init"] is None:
        for option in ("weights", "family"):
            if given[option] is not None:
                raise UsageError(f"--{option} is for reading the checkpoint of --init; name one, or leave it out")
    check_eta(given["eta"])
    if not given["lr"] > 0 or (given["stage_one_lr"] is not None and not given["stage_one_lr"] > 0):
        raise UsageError("a learning rate must be positive")


def make_recipe(given: dict[str, Any]) -> Recipe:
    """Return the recipe that the options ask for; most have the name of their field."""
    unit = next((unit for unit in UNITS if given[unit] is not None), UNITS[0])
    amount = 300.0 if given[unit] is None else given[unit]
    rates = (given["stage_one_lr"] or given["lr"], given["lr"])
    same = {field.name: given[field.name] for field in fields(Recipe) if field.name in given}
    return Recipe(amounts=(given["stage_one"], amount), unit=unit, rates=rates, **same)
