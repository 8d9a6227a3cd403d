"""A bundle as it was opened: what belongs together, and is replaced together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from sacvit_deploy.backends.choose import choose_backend, choose_precision
from sacvit_deploy.backends.device_name import split_devices
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.bundle.bundle import Bundle, read_steadily
from sacvit_deploy.bundle.held import Held
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.budget import Limits
from sacvit_deploy.preparing import Preparer
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import Stages
from sacvit_deploy.stages.replicas import replicas


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
    device_memory: int | None = None


@dataclass(frozen=True)
class OpenedModel:
    """A bundle's manifest and labels, and the engines of one variant: on the host, or in a pool on a device.

    preparer: makes images into what they take. others: pools on further devices, which share the images.
    """

    bundle: Bundle
    backend: Backend
    precision: str
    on_host: Cascade | None
    pool: ContextPool | None
    preparer: Preparer
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
        if len(self.pools) > 1:
            return replicas(self.pools, count, batch)
        if self.pool is not None:
            return self.pool.stages(count, batch)
        return nullcontext(HostStages(self.cascade, count))


def open_model(folder: Path, how: Opening, bounds: Limits) -> OpenedModel:
    """Open a bundle folder, whose files are read here, once. bounds: what its images may have.

    Raises BundleError, BackendError, UsageError.
    """

    def read(bundle: Bundle) -> tuple[Bundle, list[Backend], str, dict[str, Held]]:
        name, devices = how.backend, split_devices(how.device)
        if name == "auto" and how.device is None:
            name, chosen, _ = choose_backend(bundle)
            devices = [chosen]
        backends = [
            open_backend(
                name,
                device=device,
                threads=how.threads,
                weights=how.weights,
                capture=how.capture,
                device_memory=how.device_memory,
            )
            for device in devices
        ]
        precision = how.precision
        if precision == "auto":
            device_name = devices[0] if name in ("auto", "onnxruntime") else name
            everywhere = [set(backend.precisions(bundle)) for backend in backends]
            precision, _ = choose_precision(set.intersection(*everywhere), device_name)
        return bundle, backends, precision, backends[0].files(bundle, precision)

    bundle, backends, precision, files = read_steadily(folder, read)
    backend = backends[0]
    config = bundle.manifest.config
    preparer = Preparer(config, bounds)
    engines = {role: file for role, file in files.items() if role != BASELINE}
    devices = [each.device(engines) for each in backends]
    opened = [device for device in devices if device is not None]
    if how.scaled and opened:
        raise UsageError(f"scaled decoding is for the CPU; on {backend.description} every image goes up in full")
    if len(devices) > 1 and len(opened) < len(devices):
        raise UsageError(f"--device {how.device}: several devices must all keep their own tensors, as CUDA's do")
    # Open stage 1 now, so that what keeps engines from opening shows here.
    if not opened:
        cascade = Cascade(backend, files, config, partial(backend.files, bundle, precision))
        cascade.warm()
        return OpenedModel(bundle, backend, precision, cascade, None, preparer)
    pools = [ContextPool(device, config) for device in opened]
    for pool in pools:
        pool.warm()
    return OpenedModel(bundle, backend, precision, None, pools[0], preparer, tuple(pools[1:]))
