"""A bundle as it was opened: what belongs together, and is replaced together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from sacvit_deploy.backends.choose import choose_backend, choose_precision
from sacvit_deploy.backends.device_name import DECODERS, parse_device, split_devices
from sacvit_deploy.backends.open import CUDA_NAMES, open_backend
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.bundle.bundle import Bundle, read_steadily
from sacvit_deploy.bundle.held import Held
from sacvit_deploy.bundle.variant_digest import variant_digest
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.endpoint import Remote
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.images.budget import Limits
from sacvit_deploy.item import Answer
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.preparing import Preparer
from sacvit_deploy.ranges import check_ranges
from sacvit_deploy.remote import RemoteStageTwo
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import Stages
from sacvit_deploy.stages.remote import RemoteStages
from sacvit_deploy.stages.replicas import replicas

FALLBACKS = ("error", "stage_one")  # what stands in for stage 2 where it can't be reached


@dataclass(frozen=True)
class Opening:
    """How a bundle is opened; the fields are SACViT's arguments."""

    backend: str = "auto"
    device: str | None = None
    precision: str = "auto"
    threads: int | None = None
    weights: str = "packed"
    scaled: bool = False
    capture: bool = False
    max_pixels: int | None = None
    max_memory: int | None = None
    device_memory: int | None = None
    stage_two: str | None = None
    stage_two_timeout: float = 2.0
    stage_two_retries: int = 1
    stage_two_fallback: str = "error"
    decode: str = "cpu"

    def remote(self) -> Remote | None:
        """Where stage 2 is; None where it is here. Raises UsageError."""
        if self.stage_two_fallback not in FALLBACKS:
            raise UsageError(
                f"stage_two_fallback is {self.stage_two_fallback!r:.80}; it must be one of {', '.join(FALLBACKS)}"
            )
        if self.stage_two is None:
            return None
        fallback = self.stage_two_fallback == FALLBACKS[1]
        return Remote(self.stage_two, self.stage_two_timeout, self.stage_two_retries, fallback)


@dataclass(frozen=True)
class OpenedModel:
    """A bundle's manifest and labels, and the engines of one variant: on the host, or in a pool on a device.

    preparer: makes images into what they take. remote: stage 2, where it is on another machine; then the cascade has
    no SAC engine. others: pools on further devices, which share the images.
    """

    bundle: Bundle
    backend: Backend
    precision: str
    on_host: Cascade | None
    pool: ContextPool | None
    preparer: Preparer
    remote: RemoteStageTwo | None = None
    others: tuple[ContextPool, ...] = ()

    @property
    def pools(self) -> tuple[ContextPool, ...]:
        """The pools of all devices; none where the CPU computes."""
        return () if self.pool is None else (self.pool, *self.others)

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

    def stages(self, count: int, batch: int) -> AbstractContextManager[Stages | Sequence[Stages]]:
        """Lend the stages, on the devices or the host, for M = `count` and batches of up to `batch` images."""
        if self.remote is not None:
            return RemoteStages(self.cascade, count, self.remote)
        if len(self.pools) > 1:
            return replicas(self.pools, count, batch)
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
    where = how.remote()
    bundle, backends, precision, files = _read(folder, how)
    backend = backends[0]
    config = bundle.manifest.config
    preparer = _preparer(config, how, bounds)
    again = partial(backend.files, bundle, precision)
    if where is not None:
        alone = Cascade(backend, files, config, again, ("ee",))
        alone.warm()
        remote = RemoteStageTwo(where, variant_digest(bundle.manifest, precision), config.geometry.classes)
        return OpenedModel(bundle, backend, precision, alone, None, preparer, remote)
    engines = {role: file for role, file in files.items() if role != BASELINE}
    devices = [each.device(engines) for each in backends]
    given = [device for device in devices if device is not None]
    if how.scaled and given:
        raise UsageError(f"scaled decoding is for the CPU; on {backend.description} every image goes up in full")
    if len(devices) > 1 and len(given) < len(devices):
        raise UsageError(f"--device {how.device}: several devices must all keep their own tensors, as cuda:0,cuda:1 do")
    # Open stage 1 now, so that what keeps engines from opening shows here.
    if not given:
        cascade = Cascade(backend, files, config, again)
        cascade.warm()
        return OpenedModel(bundle, backend, precision, cascade, None, preparer)
    pool, *others = (ContextPool(device, config) for device in given)
    for each in (pool, *others):
        each.warm()
    return OpenedModel(bundle, backend, precision, None, pool, preparer, others=tuple(others))


def open_stages(folder: Path, how: Opening, bounds: Limits, stages: Sequence[str]) -> OpenedStages:
    """Open a bundle folder for the named stages alone, of `contract.STAGES`, the first of them now.

    Raises BundleError, BackendError, UsageError.
    """
    bundle, (backend, *_), precision, files = _read(folder, how)
    config = bundle.manifest.config
    cascade = Cascade(backend, files, config, partial(backend.files, bundle, precision), stages)
    cascade.warm()
    return OpenedStages(bundle, precision, cascade, _preparer(config, how, bounds))


def _preparer(config: ModelConfig, how: Opening, bounds: Limits) -> Preparer:
    """Return what makes images into items; decoding on a GPU takes the first that `device` names, else number 0.

    Raises BackendError, UsageError.
    """
    if how.decode not in DECODERS:
        raise UsageError(f"decode is {how.decode!r:.80}; it must be one of {', '.join(DECODERS)}")
    if how.decode == "cpu":
        return Preparer(config, bounds)
    if how.scaled:
        raise UsageError("--scaled (scaled=) decodes on the CPU; leave it out, or --decode gpu (decode=)")
    # Only now, as ONNX Runtime's part in it takes time to import.
    from sacvit_deploy.backends.nvimgcodec.open_jpegs import open_jpegs

    first = parse_device(split_devices(how.device)[0])
    number = first.number if first.name in CUDA_NAMES else 0
    return Preparer(config, bounds, open_jpegs(config, number, how.device_memory))


def _read(folder: Path, how: Opening) -> tuple[Bundle, Sequence[Backend], str, Mapping[str, Held]]:
    """Choose a backend for each device and the precision as `how` says, and read the variant's files.

    Raises as `open_model`.
    """

    check_ranges()

    def read(bundle: Bundle) -> tuple[Bundle, Sequence[Backend], str, Mapping[str, Held]]:
        name, devices = how.backend, split_devices(how.device)
        if name == "auto" and how.device is None:
            name, chosen, _ = choose_backend(bundle)
            devices = [chosen]
        opening = partial(
            open_backend,
            name,
            threads=how.threads,
            weights=how.weights,
            capture=how.capture,
            device_memory=how.device_memory,
        )
        backends = [opening(device=device) for device in devices]
        precision = how.precision
        if precision == "auto":
            device_name = devices[0] if name in ("auto", "onnxruntime") else name
            everywhere = set.intersection(*(set(backend.precisions(bundle)) for backend in backends))
            precision, _ = choose_precision(everywhere, device_name)
        return bundle, backends, precision, backends[0].files(bundle, precision)

    return read_steadily(folder, read)


def to_prediction(answer: Answer, bundle: Bundle, position: int) -> Prediction | SacvitError:
    """Return a finished answer as users get it. position: the image's number in its source or batch."""
    if answer.error is not None:
        answer.error.position = position
        return answer.error
    assert answer.logits is not None
    return Prediction.from_logits(
        answer.logits,
        answer.index,
        float(np.float32(answer.probability)),
        source=answer.item.source,
        labels=bundle.labels,
        stage=answer.stage,
        stage_one_probability=answer.stage_one_probability,
        grid=bundle.manifest.config.geometry.grid,
        targets=answer.targets,
        timing=answer.item.timing,
        position=position,
        fallback=answer.fallback,
    )
