"""Labels on the device against fp32 on the CPU, image by image: by batch, precision and gate, and in threads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.benchmarks.contenders import CascadeContender
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.subject import on_device
from sacvit_deploy.benchmarks.images import load_images
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.contract import FOR_GPU
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BackendError
from sacvit_deploy.images.prefetch import in_batches
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.model import SACViT
from sacvit_deploy.stages.context_pool import ContextPool

BATCHES = (32, 1, 7)
THREADS = 4


def measure(settings: Settings) -> Iterator[Row]:
    """Yield a row for each precision, batch and gate, and one for several threads at once."""
    variants = open_bundle(settings.example).manifest.variants
    pools: dict[str, ContextPool] = {}
    for precision in dict.fromkeys((settings.precision, "fp32")):
        try:
            if precision not in variants:
                raise BackendError(f"{settings.example} has no such variant")
            pools[precision] = open_pool(settings, precision)
        except BackendError as error:
            yield {"precision": precision, "not run": str(error)}
        if precision in variants and any(role.endswith(FOR_GPU) for role in variants[precision].files):
            try:
                pools[f"{precision}, plain layout"] = open_layout(settings, precision, for_gpu=False)
            except BackendError as error:
                yield {"precision": f"{precision}, plain layout", "not run": str(error)}
    if settings.precision in pools and not settings.on_cpu:
        recorded = SACViT(settings.example, device=settings.device, precision=settings.precision, capture=True).pool
        assert recorded is not None
        pools[f"{settings.precision}, recorded"] = recorded
    if not pools:
        raise BackendError(f"no variant of {settings.example} runs on {settings.device}")
    reference = answer_on_cpu(settings)
    for precision, pool in pools.items():
        yield from compare_model(reference, precision, pool, BATCHES)
    precision, pool = next(iter(pools.items()))
    eta = reference.etas[0]
    threaded = in_threads(pool, reference.images, reference.count, eta, reference.answers[eta])
    yield {"precision": precision, "batch": f"{THREADS} threads", "eta": eta, **threaded}


@dataclass(frozen=True)
class Reference:
    """Images, and what fp32 on the CPU answers: by eta, the bundle's and one at which all continue. count: M."""

    images: Sequence[Pixels]
    count: int
    answers: Mapping[float, Sequence[Answer]]

    @property
    def etas(self) -> tuple[float, ...]:
        """The etas, the bundle's first."""
        return tuple(self.answers)


def answer_on_cpu(settings: Settings) -> Reference:
    """Classify the check's images in fp32 on the CPU. Raises BackendError, BundleError."""
    host = SACViT(settings.example, device="cpu", precision="fp32")
    images, count = load(host, settings), host.config.num_targets()
    return Reference(images, count, {eta: answer(host, images, eta, count, 32) for eta in (host.eta, 1.0)})


def compare_model(
    reference: Reference, name: str, model: SACViT | ContextPool, batches: Sequence[int]
) -> Iterator[Row]:
    """Yield a row for each batch and eta, or one that says why there is none. name: of the variant, and where it is."""
    try:
        for batch, eta in itertools.product(batches, reference.etas):
            found = answer(model, reference.images, eta, reference.count, batch)
            yield {"precision": name, "batch": batch, "eta": eta, **compare(found, reference.answers[eta])}
    except BackendError as error:  # the others go on
        yield {"precision": name, "not run": str(error)}


def load(model: SACViT, settings: Settings) -> list[Pixels]:
    """Return the pictures of the folder, and mosaics of the package's photographs, as the model takes them."""
    with TemporaryDirectory(prefix="sacvit-check-") as scratch:
        mosaics = load_images(model, None, settings.images, Path(scratch)).pixels
        own = () if settings.pictures is None else load_images(model, settings.pictures, 10_000, Path(scratch)).pixels
    return [*own, *mosaics]


def open_pool(settings: Settings, precision: str) -> ContextPool:
    """Open the example as a user does; on the CPU, as the device that it is for tests. Raises BackendError."""
    if not settings.on_cpu:
        pool = SACViT(settings.example, device=settings.device, precision=precision).opened.pool
        assert pool is not None  # devices other than the CPU have one
        return pool
    return open_layout(settings, precision, for_gpu=True)


def open_layout(settings: Settings, precision: str, *, for_gpu: bool) -> ContextPool:
    """Open the example's engines that are laid out for a GPU, if it has some, or for none. Raises BackendError."""
    bundle = open_bundle(settings.example)
    backend = OnnxRuntimeBackend(settings.device, usable_cores())
    pool = ContextPool(
        on_device(backend, bundle.held_files(precision, for_gpu=for_gpu), settings), bundle.manifest.config
    )
    pool.warm()
    return pool


def answer(model: SACViT | ContextPool, images: Sequence[Pixels], eta: float, count: int, batch: int) -> list[Answer]:
    """Classify images."""
    items = [Item(str(number), image) for number, image in enumerate(images)]
    return list(CascadeContender(model, eta, count).answers(in_batches(items, batch), batch))


def compare(found: Sequence[Answer], expected: Sequence[Answer]) -> Row:
    """Count equal answers. unsure: the largest lead of a label, on the CPU, that another one got on the device."""
    pairs = list(zip(found, expected, strict=True))
    differ = [other for one, other in pairs if one.probabilities is None or top(one) != top(other)]
    both = [(one, other) for one, other in pairs if one.targets is not None and other.targets is not None]
    errors = [
        float(np.abs(one.probabilities - other.probabilities).max())
        for one, other in pairs
        if one.probabilities is not None and other.probabilities is not None and one.stage == other.stage
    ]
    return {
        "images": len(pairs),
        "labels equal": len(pairs) - len(differ),
        "stages equal": sum(one.stage == other.stage for one, other in pairs),
        "continued": len(both),
        "targets equal": sum(np.array_equal(one.targets, other.targets) for one, other in both),  # type: ignore[arg-type]
        "worst probability": max(errors, default=None),
        "unsure": max(map(lead, differ), default=0.0),
    }


def top(answer: Answer) -> int:
    """Return the most probable class. Raises the answer's error."""
    if answer.probabilities is None:
        raise answer.error or BackendError("an image got no answer")
    return int(np.argmax(answer.probabilities))


def lead(answer: Answer) -> float:
    """Return how much more probable the first class is than the second."""
    assert answer.probabilities is not None
    second, first = np.sort(answer.probabilities)[-2:]
    return float(first - second)


def in_threads(pool: ContextPool, images: Sequence[Pixels], count: int, eta: float, expected: Sequence[Answer]) -> Row:
    """Classify in several threads at once, each its own part of the images at batches of its own; compare."""
    parts: list[list[Answer]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        parts[number] = answer(pool, images[number::THREADS], eta, count, number + 1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [one for part in parts for one in part]
    reference = [one for number in range(THREADS) for one in expected[number::THREADS]]
    return compare(found, reference)
