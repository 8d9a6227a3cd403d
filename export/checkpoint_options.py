"""Options of the commands that make a model from a checkpoint: what its files don't say, or say otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from sacvit_deploy.commands.common import finite, numbers
from sacvit_deploy.export.layouts import FAMILIES
from sacvit_deploy.export.settings_fields import Triple, beyond_one

F = TypeVar("F", bound=Callable[..., Any])


def channels(ctx: click.Context, param: click.Parameter, value: str | None) -> Triple | None:
    """Click callback: read three numbers, one for each channel, or one for all; those of --std are above 0."""
    given = numbers(ctx, param, value)
    if given is None:
        return None
    values = given * 3 if len(given) == 1 else given
    if len(values) != 3 or not all(math.isfinite(number) for number in values):
        raise click.BadParameter(f"{value!r} is not three numbers such as 0.5,0.5,0.5, or one for all", ctx, param)
    if param.name == "std" and min(values) <= 0:
        raise click.BadParameter(f"{value!r} would divide by 0; all must be above 0", ctx, param)
    if reason := beyond_one(values):
        raise click.BadParameter(f"{value!r} is no {param.name} {reason}", ctx, param)
    return values[0], values[1], values[2]


def preprocessing_options(function: F) -> F:
    """Add --mean, --std, --crop and --interpolation to a command."""
    unless = "[default: the checkpoint's, or a guess]"
    return _add(
        function,
        click.option("--mean", metavar="R,G,B", callback=channels, help=f"Of the channels, 0 to 1.  {unless}"),
        click.option("--std", metavar="R,G,B", callback=channels, help=f"Of the channels, 0 to 1.  {unless}"),
        click.option("--crop", type=click.FloatRange(0.1, 1), callback=finite, help="Share cut from the centre."),
        click.option("--interpolation", type=click.Choice(["bicubic", "bilinear"]), help="Filter of the resize."),
    )


def reading_options(function: F) -> F:
    """Add --weights, --heads and --family to a command."""
    return _add(
        function,
        click.option(
            "--weights", type=click.Choice(["model", "ema"]), help="Where both are there.  [default: the family's]"
        ),
        click.option(
            "--heads", type=click.IntRange(min=1), help="Attention heads.  [default: the files', or by the width]"
        ),
        click.option("--family", type=click.Choice(FAMILIES), help="Family of the checkpoint, where files look alike."),
    )


def _add(function: F, *options: Callable[[F], F]) -> F:
    """Add options to a command, in this order in its help."""
    for option in reversed(options):
        function = option(function)
    return function
