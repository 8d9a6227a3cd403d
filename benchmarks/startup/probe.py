"""Start-up of one contender, in a process that imports no more than it needs: `python -m ...startup.probe JSON`.

Prints JSON: ms to open it, ms of the first image, peak resident MB. `process.py` starts it and reads that.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

START = time.perf_counter()


def main() -> None:
    """Open the contender, answer one image, print the times."""
    request: dict[str, Any] = json.loads(sys.argv[1])
    if request["eta"] is not None:  # the cascade
        from sacvit_deploy.model import SACViT

        # As `sacvit-infer` opens a bundle for a few images.
        opening = {**request["opening"], "precision": request["precision"]}
        model = SACViT(request["bundle"], weights="mapped", **opening)
        opened = time.perf_counter()
        model.predict(request["image"], eta=request["eta"])
    else:
        import numpy as np

        from sacvit_deploy.backends.open import open_backend
        from sacvit_deploy.bundle.bundle import open_bundle
        from sacvit_deploy.bundle.held import hold
        from sacvit_deploy.images.decode import load_image
        from sacvit_deploy.images.preprocess import fit, normalise

        config = open_bundle(request["bundle"]).manifest.config
        files = {role: hold(Path(path)) for role, path in request["files"].items() if path}  # as the cascade's are
        opening = dict(request["opening"])
        backend = open_backend(opening.pop("backend"), weights="mapped", **opening)
        engine = backend.open(files["engine"], files.get("weights"))
        opened = time.perf_counter()
        pixels = fit(load_image(request["image"]), config.geometry.image_size, config.preprocessing)
        view = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)[None]
        normalise(view[0], config.preprocessing)
        extra = {} if request["slots"] is None else {"slots": np.arange(request["slots"])}
        engine.run({"image": view, **extra})
    done = time.perf_counter()
    times = {"open_ms": 1000 * (opened - START), "first_ms": 1000 * (done - opened), "peak_mb": peak_mb()}
    print(json.dumps(times))


def peak_mb() -> float | None:
    """Return the largest resident size of this process in MB, where Linux reports it.

    VmHWM leaves out the program that ran in the process before `exec`, unlike `getrusage`.
    """
    try:
        line = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(line[1]) / 1024 if line else None


if __name__ == "__main__":
    main()
