"""From files, folders and globs to the paths of images."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.decode import SUFFIXES


def expand(arguments: Iterable[str]) -> list[Path]:
    """Replace folders by the images in them and globs by their matches, sorted within each argument; files stay.

    Raises UsageError for a folder without images or a glob without matches; a missing file is left to its reader.
    """
    paths: list[Path] = []
    for argument in arguments:
        if os.path.isdir(argument):
            matches = sorted(path for path in Path(argument).iterdir() if path.suffix.lower() in SUFFIXES)
            if not matches:
                raise UsageError(f"no images in the folder {argument} (looked for {', '.join(SUFFIXES)})")
        elif glob.has_magic(argument) and not os.path.exists(argument):
            matches = sorted(Path(path) for path in glob.glob(argument, recursive=True) if not os.path.isdir(path))
            if not matches:
                raise UsageError(f"nothing matches {argument}")
        else:
            matches = [Path(argument)]
        paths += matches
    return paths
