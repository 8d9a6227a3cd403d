"""Files, folders and globs to image paths."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.decode import SUFFIXES


def expand(arguments: Iterable[str]) -> list[Path]:
    """Files stay, folders give the pictures inside, globs what they match; sorted within each argument.

    Raises UsageError for a folder or glob without pictures; a file that does not exist is reported later, in its place.
    """
    paths: list[Path] = []
    for argument in arguments:
        if os.path.isdir(argument):
            found = sorted(path for path in Path(argument).iterdir() if path.suffix.lower() in SUFFIXES)
            if not found:
                raise UsageError(f"no pictures in the folder {argument} (looked for {', '.join(SUFFIXES)})")
        elif glob.has_magic(argument) and not os.path.exists(argument):
            found = sorted(Path(path) for path in glob.glob(argument, recursive=True) if not os.path.isdir(path))
            if not found:
                raise UsageError(f"nothing matches {argument}")
        else:
            found = [Path(argument)]
        paths += found
    return paths
