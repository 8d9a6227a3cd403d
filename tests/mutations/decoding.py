"""What cpp/tests/decode_probe.cpp does, in Python: reads lines `SIZE CROP FILTER RESIZE ROUNDING PATH`.

Prints for each the bytes that were reserved, a tab, and the SHA-256 of the fitted pixels, `error: MESSAGE`, or
`escaped: EXCEPTION` for any but the documented one.
"""

from __future__ import annotations

import hashlib
import sys
import warnings

import numpy as np

from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError
from sacvit_deploy.images.budget import Limits, limits
from sacvit_deploy.images.decode import ImageSource, fit_image
from tests.corpora import Watched


def request(size: int, recipe: Preprocessing, path: object) -> str:
    """Return the line that asks for an image."""
    return f"{size} {recipe.crop} {recipe.interpolation} {recipe.resize} {recipe.resize_rounding} {path}"


def decoded(source: ImageSource, size: int, recipe: Preprocessing, bounds: Limits | None = None) -> str:
    """Return what is printed of an image, without what was reserved."""
    try:
        pixels = fit_image(source, size, recipe, bounds)
    except ImageError as error:
        return f"error: {error}" if len(str(error).splitlines()) == 1 else f"escaped: not one line: {str(error)!r}"
    except Exception as error:
        return f"escaped: {type(error).__name__}: {str(error)!r}"
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    default = limits()
    memory = Watched(default.memory.total, default.memory.each)
    for line in sys.stdin:
        size, crop, interpolation, resize, rounding, path = line.rstrip("\n").split(" ", 5)
        recipe = Preprocessing(interpolation, float(crop), resize=resize, resize_rounding=rounding)  # type: ignore[arg-type]
        memory.last = 0
        said = decoded(path, int(size), recipe, Limits(default.pixels, memory))
        print(f"{memory.last}\t{said}", flush=True)


if __name__ == "__main__":
    main()
