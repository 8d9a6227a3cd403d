"""`SACViT.stream` over JPEG files and over decoded frames: all that its users wait for, decoding included."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.images import HEIGHT, WIDTH, load_images
from sacvit_deploy.benchmarks.threshold import eta_for, stage_one_probabilities
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.prefetch import prefetch
from sacvit_deploy.images.sources import AnySource
from sacvit_deploy.model import SACViT

FILES = f"JPEGs of {WIDTH}x{HEIGHT}"


def measure(settings: Settings) -> Iterator[Row]:
    """Yield rows at the first batch: files, decoded frames, and the files' decoding alone, which may be the limit."""
    model = SACViT(settings.speed, device=settings.device, precision=settings.precision)
    batch, workers = settings.batches[0], settings.workers
    with TemporaryDirectory(prefix="sacvit-check-") as scratch:
        images = load_images(model, None, settings.images, Path(scratch))
        eta = eta_for(stage_one_probabilities(model.pool or model, images.pixels, batch), settings.share)
        files = list(images.paths or ())
        frames = [np.asarray(Image.open(path).convert("RGB")) for path in files]

        def stream(sources: Iterable[AnySource]) -> float | None:
            """Classify; returns the share that continued. Raises the error of an image."""
            continued = 0
            for answer in model.stream(sources, batch_size=batch, eta=eta, workers=workers):
                if isinstance(answer, SacvitError):
                    raise answer
                continued += answer.stage == 2
            return continued / len(files)

        def decode() -> float | None:
            for item in prefetch(files, model.prepare, limit=2 * batch, workers=workers):
                if item.error is not None:
                    raise item.error
            return None

        kinds: dict[str, Callable[[], float | None]] = {
            f"{FILES}: read, decoded, resized, both stages": lambda: stream(files),
            f"arrays of {WIDTH}x{HEIGHT}: copied, resized, both stages": lambda: stream(frames),
            f"{FILES}: read, decoded, resized, no stage": decode,
        }
        for included, run in kinds.items():
            continuing, seconds = run(), []
            for _ in range(settings.rounds):
                start = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - start)
            yield {
                "included": included,
                "batch": batch,
                "threads": workers,
                "images/s": len(files) / min(seconds),
                "continuing": continuing,
            }
