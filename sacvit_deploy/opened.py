"""A bundle as it was opened: what belongs together, and is replaced together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from sacvit_deploy.backends.choose import choose_backend, choose_precision
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.bundle.bundle import Bundle, read_steadily
from sacvit_deploy.bundle.held import Held
from sacvit_deploy.bundle.variant_digest import variant_digest
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.images.budget import Limits
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.preparing import Preparer
from sacvit_deploy.scheduler import Answer
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import Stages


@dataclass(frozen=True)
class Opening:
    """How a bundle is opened; the fields are SACViT's arguments."""

    backend: str
    device: str | None
    precision: str
    threads: int | None
    weights: str
    scaled: bool
    capture: bool
    max_pixels: int | None = None
    max_memory: int | None = None


@dataclass(frozen=True)
class OpenedModel:
    """A bundle's manifest and labels, and the engines of one variant: on the host, or in a pool on a device.

    preparer: makes images into what they take.
    """

    bundle: Bundle
    backend: Backend
    precision: str
    on_host: Cascade | None
    pool: ContextPool | None
    preparer: Preparer

    @cached_property
    def cascade(self) -> Cascade:
        """The two engines with arrays in and out; where they run on a device, others, of the folder's files anew."""
        if self.on_host is not None:
            return self.on_host
        again = partial(self.backend.files, self.bundle, self.precision)
        return Cascade(self.backend, again(), self.config, again)

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.bundle.manifest.config

    @property
    def eta(self) -> float:
        """Default eta of the variant."""
        return self.bundle.manifest.eta_of(self.precision)

    def stages(self, count: int, batch: int) -> AbstractContextManager[Stages]:
        """Lend the stages, on the device or the host, for M = `count` and batches of up to `batch` images."""
        if self.pool is not None:
            return self.pool.stages(count, batch)
        return nullcontext(HostStages(self.cascade, count))


@dataclass(frozen=True)
class OpenedStages:
    """A bundle's manifest and labels, and the engine of one stage, or of both, with arrays in and out.

    preparer: makes images into what stage 1 takes.
    """

    bundle: Bundle
    precision: str
    cascade: Cascade
    preparer: Preparer

    @cached_property
    def variant(self) -> str:
        """Digest of the opened variant, which requests to stage 2 carry."""
        return variant_digest(self.bundle.manifest, self.precision)


def open_model(folder: Path, how: Opening, bounds: Limits) -> OpenedModel:
    """Open a bundle folder, whose files are read here, once. bounds: what its images may have.

    Raises BundleError, BackendError, UsageError.
    """
    bundle, backend, precision, files = _read(folder, how)
    config = bundle.manifest.config
    preparer = Preparer(config, bounds)
    device = backend.device({role: file for role, file in files.items() if role != BASELINE})
    if how.scaled and device is not None:
        raise UsageError(f"scaled decoding is for the CPU; on {backend.description} every image goes up in full")
    # Open stage 1 now, so that what keeps engines from opening shows here.
    if device is None:
        cascade = Cascade(backend, files, config, partial(backend.files, bundle, precision))
        cascade.warm()
        return OpenedModel(bundle, backend, precision, cascade, None, preparer)
    pool = ContextPool(device, config)
    pool.warm()
    return OpenedModel(bundle, backend, precision, None, pool, preparer)


def open_stages(folder: Path, how: Opening, bounds: Limits, stages: Sequence[str]) -> OpenedStages:
    """Open a bundle folder for the named stages alone, of `contract.STAGES`, the first of them now.

    Raises BundleError, BackendError, UsageError.
    """
    bundle, backend, precision, files = _read(folder, how)
    config = bundle.manifest.config
    cascade = Cascade(backend, files, config, partial(backend.files, bundle, precision), stages)
    cascade.warm()
    return OpenedStages(bundle, precision, cascade, Preparer(config, bounds))


def _read(folder: Path, how: Opening) -> tuple[Bundle, Backend, str, Mapping[str, Held]]:
    """Choose backend and precision as `how` says, and read the variant's files. Raises as `open_model`."""

    def read(bundle: Bundle) -> tuple[Bundle, Backend, str, Mapping[str, Held]]:
        name, device = how.backend, how.device
        if name == "auto" and device is None:
            name, device, _ = choose_backend(bundle)
        backend = open_backend(name, device=device, threads=how.threads, weights=how.weights, capture=how.capture)
        precision = how.precision
        if precision == "auto":
            device_name = device if name in ("auto", "onnxruntime") else name
            precision, _ = choose_precision(backend.precisions(bundle), device_name)
        return bundle, backend, precision, backend.files(bundle, precision)

    return read_steadily(folder, read)


def to_prediction(answer: Answer, bundle: Bundle, position: int) -> Prediction | SacvitError:
    """Return a finished answer as users get it. position: the image's number in its source or batch."""
    if answer.error is not None:
        answer.error.position = position
        return answer.error
    assert answer.probabilities is not None
    return Prediction(
        source=answer.item.source,
        labels=bundle.labels,
        stage=answer.stage,
        probabilities=answer.probabilities.astype("float32"),
        stage_one_probability=answer.stage_one_probability,
        grid=bundle.manifest.config.geometry.grid,
        targets=answer.targets,
        timing=answer.item.timing,
        position=position,
    )
