"""Which bundle a command means when none is named."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sacvit_deploy.bundle.bundle import SUFFIX
from sacvit_deploy.errors import BundleError

VARIABLE = "SACVIT_BUNDLE"


def find_bundle(pictures: Iterable[Path] = ()) -> Path:
    """Return the bundle named by $SACVIT_BUNDLE, else the one in the nearest place that has one.

    Places in order: the current folder, the pictures' folders, the parents of those folders. Raises BundleError when
    none has one, or one has several.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in pictures))
    places = [Path(), *folders, *(folder.resolve().parent for folder in folders)]
    for place in dict.fromkeys(place.resolve() for place in places):
        found = sorted(path for path in place.glob(f"*{SUFFIX}") if path.is_dir())
        if len(found) == 1:
            return _short(found[0])
        if found:
            names = ", ".join(path.name for path in found)
            raise BundleError(f"{place} has several bundles ({names}); choose one with --bundle")
    raise BundleError(
        f"no *{SUFFIX} bundle in the current folder, beside the pictures or in the folder above them; name one with "
        f"--bundle or ${VARIABLE}, or make one with: sacvit-export --ckpt model.pth"
    )


def _short(path: Path) -> Path:
    """The path as the user would type it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
