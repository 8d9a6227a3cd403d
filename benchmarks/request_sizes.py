"""What crosses a network for one image: a request to stage 2, or the image itself. `... BUNDLE FOLDER` prints a table.

Bytes, what the far side computes, and the link speed at which both take as long. Times are medians of single calls.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sacvit_deploy import Prediction, SACViT, StageOne, StageTwo, StageTwoRequest
from sacvit_deploy.images.paths import expand

ROUNDS = 15


def encoded(pixels: Any, form: str, **options: Any) -> bytes:
    """Return an image [S,S,3] as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def median_ms(call: Callable[[], object]) -> float:
    """Return the median of a call's times, ms."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def main(bundle: str, folder: str) -> None:
    """Measure and print."""
    model = SACViT(bundle, threads=1)
    one, two = StageOne(bundle, threads=1), StageTwo(bundle, threads=1)
    paths = [Path(path) for path in expand((folder,), print)]
    results = one.predict_batch(paths)
    continuing = [(path, r) for path, r in zip(paths, results, strict=True) if isinstance(r, StageTwoRequest)]
    kinds: dict[str, list[bytes]] = {"request, StageTwoRequest": [r.to_bytes() for _, r in continuing]}
    fitted = [one.prepare(path).pixels for path, _ in continuing]
    for quality in (75, 90, 95):
        kinds[f"fitted image, JPEG {quality}"] = [encoded(pixels, "JPEG", quality=quality) for pixels in fitted]
    kinds["fitted image, PNG"] = [encoded(pixels, "PNG") for pixels in fitted]
    kinds["the file as it is"] = [path.read_bytes() for path, _ in continuing]
    expected = model.predict_batch([path for path, _ in continuing], eta=1.0)
    print(f"{model.precision} on {model.backend.description}; {len(continuing)} of {len(paths)} images continue")
    print(f"{'':<26}{'kB, mean':>10}{'far side, ms':>14}{'other labels':>14}{'as fast at, Mbit/s':>20}")
    base: tuple[float, float] | None = None
    for name, datas in kinds.items():
        size = statistics.mean(map(len, datas))
        if base is None:
            far = statistics.mean(median_ms(partial(two.predict_batch, [data])) for data in datas)
            answers, cell = two.predict_batch(datas), ""
            base = size, far
        else:
            far = statistics.mean(median_ms(partial(model.predict, data, eta=1.0)) for data in datas)
            answers = model.predict_batch(datas, eta=1.0)
            more_bytes, more_ms = base[0] - size, far - base[1]
            cell = f"{8 * more_bytes / more_ms / 1000:.0f}" if more_bytes > 0 and more_ms > 0 else "-"
        other = sum(
            not (isinstance(a, Prediction) and isinstance(b, Prediction) and a.label == b.label)
            for a, b in zip(answers, expected, strict=True)
        )
        print(f"{name:<26}{size / 1000:>10.1f}{far:>14.1f}{other:>14}{cell:>20}")
    moved = [
        float(np.abs(a.probabilities - b.probabilities).max())
        for a, b in zip(model.predict_batch(kinds["fitted image, JPEG 90"], eta=1.0), expected, strict=True)
        if isinstance(a, Prediction) and isinstance(b, Prediction)
    ]
    print(
        f"JPEG 90 moves a probability by up to {max(moved):.2f}, in the median image by {statistics.median(moved):.3f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
