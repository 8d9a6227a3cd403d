"""Finding the bundle to use when a command names none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sacvit_deploy.bundle.bundle import SUFFIX
from sacvit_deploy.errors import BundleError

VARIABLE = "SACVIT_BUNDLE"


def find_bundle(images: Iterable[Path] = ()) -> Path:
    """Return the bundle that $SACVIT_BUNDLE names, else the one in the first of these places that holds any.

    The places: the current folder, the images' folders, the parents of those folders. Raises BundleError if none holds
    a bundle, or the first that does holds several.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in images))
    places = [Path(), *folders, *(folder.resolve().parent for folder in folders)]
    for place in dict.fromkeys(place.resolve() for place in places):
        bundles = sorted(path for path in place.glob(f"*{SUFFIX}") if path.is_dir())
        if len(bundles) == 1:
            return _short(bundles[0])
        if bundles:
            names = ", ".join(path.name for path in bundles)
            raise BundleError(f"{place} has several bundles ({names}); choose one with --bundle")
    raise BundleError(
        f"no *{SUFFIX} bundle in the current folder, beside the images or in the folder above them; name one with "
        f"--bundle or ${VARIABLE}, or make one with: sacvit-export --ckpt model.pth"
    )


def _short(path: Path) -> Path:
    """Return a path as the user would type it: relative to the current folder where it lies below."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path
