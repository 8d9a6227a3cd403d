"""One contender in a process of its own, with no more imported than it needs: `python -m ...probe JSON`.

Prints JSON: ms to open it, ms of the first picture, peak resident MB. `process.py` starts it and reads that.
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
    """Open, answer one picture, tell."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    if asked["contender"] == "cascade":
        from sacvit_deploy import SACViT

        # As `sacvit-infer` opens a bundle for a few pictures.
        opening = {**asked["opening"], "precision": asked["precision"]}
        model = SACViT(asked["bundle"], weights="mapped", **opening)
        opened = time.perf_counter()
        model.predict(asked["picture"], eta=asked["eta"])
    else:
        import numpy as np

        from sacvit_deploy.backends.open import open_backend
        from sacvit_deploy.bundle.bundle import hash_file, open_bundle
        from sacvit_deploy.images.decode import load_image
        from sacvit_deploy.images.preprocess import fit, normalise

        config = open_bundle(asked["bundle"]).manifest.config
        files = {role: Path(path) for role, path in asked["files"].items()}
        for path in files.values():
            hash_file(path)  # as the cascade's are, before they are opened
        opening = dict(asked["opening"])
        backend = open_backend(opening.pop("backend"), weights="mapped", **opening)
        engine = backend.open(files["engine"], files.get("weights"))
        opened = time.perf_counter()
        pixels = fit(load_image(asked["picture"]), config.geometry.image_size, config.preprocessing)
        view = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)[None]
        normalise(view[0], config.preprocessing)
        extra = {} if asked["slots"] is None else {"slots": np.arange(asked["slots"])}
        engine.run({"image": view, **extra})
    done = time.perf_counter()
    told = {"open_ms": 1000 * (opened - START), "first_ms": 1000 * (done - opened), "peak_mb": peak_mb()}
    print(json.dumps(told))


def peak_mb() -> float | None:
    """Largest resident size of this process so far, where Linux tells; that of a program it was before is not in it."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) / 1024 if found else None


if __name__ == "__main__":
    main()
