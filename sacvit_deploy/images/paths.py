"""From files, folders and globs to the paths of images."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from sacvit_deploy.console.text import counted, listed
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.decode import SUFFIXES
from sacvit_deploy.regular import KINDS


def expand(arguments: Iterable[str], note: Callable[[str], None]) -> list[Path]:
    """Replace folders by the images in them and globs by their matches, sorted within each argument; files stay.

    Hidden files (such as `._a.jpg`, which macOS leaves on cameras' cards) and what is no regular file are skipped,
    which `note` is told in one line for each argument. Raises UsageError for a folder without images or a glob without
    matches; a missing file is left to its reader.
    """
    paths: list[Path] = []
    for argument in arguments:
        if os.path.isdir(argument):
            found = [path for path in Path(argument).iterdir() if path.suffix.lower() in SUFFIXES]
            nothing = f"no images in the folder {argument} (looked for {', '.join(SUFFIXES)})"
        elif glob.has_magic(argument) and not os.path.exists(argument):
            found = [Path(path) for path in glob.glob(argument, recursive=True) if not os.path.isdir(path)]
            nothing = f"nothing matches {argument}"
        else:
            paths.append(Path(argument))
            continue
        reasons = {path: reason for path in sorted(found) if (reason := why_skipped(path))}
        if reasons:
            names = [f"{path.name} ({reason})" for path, reason in reasons.items()]
            note(f"{argument}: {counted(len(names), 'file')} skipped: {listed(names)}")
        matches = sorted(path for path in found if path not in reasons)
        if not matches:
            raise UsageError(nothing)
        paths += matches
    return paths


def why_skipped(path: Path) -> str | None:
    """Say why a file found in a folder is taken for no image, or return None. A missing one is left to its reader."""
    if path.name.startswith("."):
        return "hidden"
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None
    return None if kind == stat.S_IFREG else KINDS.get(kind, "no regular file")
