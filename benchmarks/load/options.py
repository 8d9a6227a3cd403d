"""Arguments and options of the commands that put load on a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

OPTIONS = (
    click.argument("bundle", type=click.Path(path_type=Path)),
    click.argument("folder", type=click.Path(path_type=Path)),
    click.option("--requests", "count", type=click.IntRange(2), default=2000, show_default=True),
    click.option("--connections", type=click.IntRange(1), default=32, show_default=True),
    click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each engine."),
    click.option("--precision", default="int8", show_default=True),
)


def load_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add BUNDLE, FOLDER, --requests, --connections, --threads and --precision."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
