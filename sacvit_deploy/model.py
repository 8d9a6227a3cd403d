"""The public class: a bundle opened for inference."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from sacvit_deploy.backends.choose import choose_backend, choose_precision
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.bundle.bundle import Bundle, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.decode import ImageSource, load_image, load_scaled, read_image
from sacvit_deploy.images.prefetch import in_batches, prefetch
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.images.scaled import ScaledImage
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.scheduler import Answer, Item, Scheduler
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import Stages


class SACViT:
    """A bundle opened for inference.

    bundle: the folder; None looks for one as the commands do. backend, provider, precision, threads: `auto` and None
    choose the best for this machine; a named one runs, or opening fails. weights: "packed" for speed,
    "mapped" to open at once and keep one copy for both engines. scaled: decode large JPEGs at a fraction of their size
    for stage 1, and in full only where they continue (`scaled.py`; changes stage 1's view a little).
    Safe to use from several threads.
    Raises BundleError, BackendError.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        provider: str | None = None,
        precision: str = "auto",
        threads: int | None = None,
        weights: str = "packed",
        scaled: bool = False,
    ) -> None:
        self.bundle: Bundle = open_bundle(find_bundle() if bundle is None else bundle)
        if backend == "auto" and provider is None:
            backend, _ = choose_backend(self.bundle)
        self.backend = open_backend(backend, provider=provider, threads=threads, weights=weights)
        if precision == "auto":
            device_name = provider if backend in ("auto", "onnxruntime") else backend
            precision, _ = choose_precision(self.backend.precisions(self.bundle), device_name)
        self.precision = precision
        self.config = self.bundle.manifest.config
        self.labels = self.bundle.labels
        files = self.backend.files(self.bundle, self.precision)
        self.cascade = Cascade(self.backend, files, self.config)
        device = self.backend.device(files)
        self.pool = None if device is None else ContextPool(device, self.config)
        if scaled and self.pool is not None:
            raise UsageError(f"scaled decoding is for the CPU; on {backend} every image goes up in full")
        self.scaled = scaled
        # Open stage 1 now, so that what keeps engines from opening shows here.
        (self.cascade if self.pool is None else self.pool).warm()

    @property
    def eta(self) -> float:
        """Default eta of the loaded variant."""
        return self.bundle.manifest.eta_of(self.precision)

    def predict(self, source: ImageSource, *, eta: float | None = None, alpha: float | None = None) -> Prediction:
        """Classify one image: a path, bytes, PIL image or RGB uint8 array [H,W,3].

        eta and alpha: the bundle's defaults unless given. Raises ImageError, OutputError, UsageError.
        """
        result = self.predict_batch([source], eta=eta, alpha=alpha)[0]
        if isinstance(result, SacvitError):
            raise result
        return result

    def predict_batch(
        self, sources: Sequence[ImageSource], *, eta: float | None = None, alpha: float | None = None
    ) -> list[Prediction | SacvitError]:
        """Classify images in one EE call and at most one SAC call; a bad image gives its error in its place."""
        size = max(1, len(sources))
        return list(self.stream(sources, batch_size=size, eta=eta, alpha=alpha, workers=1 if size == 1 else None))

    def stream(
        self,
        sources: Iterable[ImageSource],
        *,
        batch_size: int = 64,
        eta: float | None = None,
        alpha: float | None = None,
        workers: int | None = None,
    ) -> Iterator[Prediction | SacvitError]:
        """Classify any number of images, in order, with bounded memory; a bad image gives its error in its place.

        Worker threads (one for each core unless given) decode and resize ahead of the engines; continuing images of
        several EE batches are joined to whole SAC batches of `batch_size`.
        """
        if batch_size < 1 or (workers is not None and workers < 1):
            raise UsageError("batch_size and workers must be at least 1")
        eta = check_eta(self.eta if eta is None else eta)
        if self.pool is not None:
            self.pool.check(batch_size)
        method = self.config.method
        count = num_targets(method.alpha if alpha is None else alpha, self.config.geometry.tokens, method.rounding)
        return self._stream(eta, count, sources, batch_size, workers or usable_cores())

    def _stream(
        self, eta: float, count: int, sources: Iterable[ImageSource], batch_size: int, workers: int
    ) -> Iterator[Prediction | SacvitError]:
        prepare = self.prepare_scaled if self.scaled else self.prepare
        items = prefetch(sources, prepare, limit=2 * batch_size, workers=workers)
        batches = in_batches(items, batch_size)
        with self.stages(count, batch_size) as stages:
            scheduler = Scheduler(stages, eta, sac_batch=batch_size, patience=8 * batch_size)
            for answer in scheduler.run(batches):
                yield self._prediction(answer)

    def stages(self, count: int, batch: int) -> AbstractContextManager[Stages]:
        """Lend the stages, on the device or the host, for M = `count` and batches of up to `batch` images."""
        if self.pool is not None:
            return self.pool.stages(count, batch)
        return nullcontext(HostStages(self.cascade, count))

    def prepare(self, source: ImageSource) -> Item:
        """Decode an image and fit it to [S,S,3]; an error goes into the item."""
        name = name_of(source)
        start = time.perf_counter()
        try:
            image = load_image(source)
            decoded = time.perf_counter()
            pixels = fit(image, self.config.geometry.image_size, self.config.preprocessing)
        except SacvitError as error:
            return Item(name, None, error)
        return Item(name, pixels, timing={"decode": decoded - start, "preprocess": time.perf_counter() - decoded})

    def prepare_scaled(self, source: ImageSource) -> Item:
        """Decode a JPEG that is large enough at a fraction of its size, for stage 1 alone; else as `prepare`."""
        name = name_of(source)
        size, recipe = self.config.geometry.image_size, self.config.preprocessing
        start = time.perf_counter()
        try:
            data = read_image(source)
            small = None if data is None else load_scaled(data, name, round(size / 2 / recipe.crop))
            if data is None or small is None:
                return self.prepare(source)
            decoded = time.perf_counter()
            view = fit(small, size // 2, recipe)
        except SacvitError as error:
            return Item(name, None, error)
        scaled = ScaledImage(view, lambda: fit(load_image(data, name), size, recipe))
        timing = {"decode": decoded - start, "preprocess": time.perf_counter() - decoded}
        return Item(name, None, timing=timing, scaled=scaled)

    def _prediction(self, answer: Answer) -> Prediction | SacvitError:
        if answer.error is not None:
            return answer.error
        assert answer.probabilities is not None
        return Prediction(
            source=answer.item.source,
            labels=self.labels,
            stage=answer.stage,
            probabilities=answer.probabilities.astype("float32"),
            stage_one_probability=answer.stage_one_probability,
            grid=self.config.geometry.grid,
            targets=answer.targets,
            timing=answer.item.timing,
        )


def name_of(source: ImageSource) -> str:
    """Return the name of an image in answers and errors."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else f"<{type(source).__name__}>"
