"""Values that a shell completes: names from a list, and bundles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from sacvit_deploy.bundle.bundle import SUFFIX

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_words(words: Sequence[str]) -> Complete:
    """Return what completes a value to one of `words`."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]

    return complete


def complete_bundle(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a path to the bundles that begin with it; where there is none, leave it to the shell to find folders."""
    folder, name = os.path.split(incomplete)
    try:
        names = sorted(os.listdir(folder or os.curdir))
    except (OSError, ValueError):
        names = []
    paths = [os.path.join(folder, each) for each in names if each.startswith(name) and each.endswith(SUFFIX)]
    bundles = [CompletionItem(path) for path in paths if Path(path).is_dir()]
    return bundles or [CompletionItem(incomplete, type="dir")]
