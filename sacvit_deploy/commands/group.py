"""The `sacvit` group. A command is imported when called, so that none loads another's libraries."""

from __future__ import annotations

import importlib
from typing import NoReturn

import click

from sacvit_deploy import __version__
from sacvit_deploy.commands.common import run_command

# name: (module with a click command called `command`, help in one line)
COMMANDS = {
    "export": ("sacvit_deploy.export.cli", "Turn a checkpoint into a bundle."),
    "build": ("sacvit_deploy.engines.cli", "Build TensorRT plans from a bundle's engines."),
    "infer": ("sacvit_deploy.commands.infer", "Classify images."),
    "inspect": ("sacvit_deploy.commands.inspect", "Show what a bundle holds and costs."),
    "relabel": ("sacvit_deploy.commands.relabel", "Give a bundle's classes new names."),
    "pack": ("sacvit_deploy.commands.pack", "Write a smaller bundle to ship: one precision alone."),
    "verify": ("sacvit_deploy.commands.verify", "Check a bundle's hashes, then its answers on this machine."),
    "inputs": ("sacvit_deploy.commands.inputs", "Write what an engine is given, for polygraphy."),
    "serve": ("sacvit_deploy.serving.command", "Serve a bundle over HTTP, for edge boxes and demos."),
    "triton": ("sacvit_deploy.serving.triton.cli_triton", "Write a model repository for NVIDIA Triton."),
    "eval": ("sacvit_deploy.evaluation.cli_eval", "Measure accuracy, cost and speed on labelled images."),
    "sweep": ("sacvit_deploy.evaluation.cli_sweep", "Draw accuracy against cost, and choose eta."),
    "calibrate": ("sacvit_deploy.calibration.cli", "Add an int8 variant, judge what precision costs."),
    "bench": ("sacvit_deploy.benchmarks.cli", "Measure what a bundle gains on this machine."),
    "plan": ("sacvit_deploy.benchmarks.cli_plan", "Count the replicas of each stage for a rate of images."),
    "overlay-sheet": ("sacvit_deploy.evaluation.cli_sheet", "Draw exits, continuing images and targets."),
    "train": ("sacvit_deploy.training.cli", "Train a SAC-ViT on your images."),
    "doctor": ("sacvit_deploy.commands.doctor", "Show what this machine can run, and why not."),
}


class LazyGroup(click.Group):
    """Command group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, or return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        return load_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def load_command(name: str) -> click.Command:
    """Import the command of that name."""
    command: click.Command = importlib.import_module(COMMANDS[name][0]).command
    return command


@click.command(cls=LazyGroup, name="sacvit")
@click.version_option(__version__, prog_name="sacvit")
def group() -> None:
    """SAC-ViT deployment: a checkpoint becomes a bundle of two engines, a bundle classifies images."""


def main() -> NoReturn:
    """Entry point of `sacvit`."""
    run_command(group)
