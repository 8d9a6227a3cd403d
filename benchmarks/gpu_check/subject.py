"""The cascade and the plain DeiT of one bundle, each on a device in ONNX Runtime, with the bytes they move counted."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.plain_device import plain_files, plain_pool
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.held import EngineFile
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.device.protocol import Device, DeviceEngine, DeviceTensor, Memory, Stream
from sacvit_deploy.stages.context_pool import ContextPool


@dataclass
class Moved:
    """Bytes that crossed the bus."""

    up: int = 0
    down: int = 0


class CountedMemory:
    """A device's memory that counts what is uploaded and downloaded, and does all else as the memory it stands for."""

    def __init__(self, memory: Memory, moved: Moved) -> None:
        self._memory, self._moved = memory, moved

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        self._moved.up += source.nbytes
        self._memory.upload(target, source, stream)

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        self._moved.down += target.nbytes
        self._memory.download(target, source, stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)


class CountedDevice:
    """A device with counted memory, behind the protocol `Device`."""

    def __init__(self, device: Device, moved: Moved) -> None:
        self._device = device
        self.memory = cast(Memory, CountedMemory(device.memory, moved))
        self.max_batch, self.engine_sets = device.max_batch, device.engine_sets

    def engine(self, role: str, stream: Stream) -> DeviceEngine:
        return self._device.engine(role, stream)


@dataclass(frozen=True)
class Subject:
    """Pools of the cascade and of the plain DeiT, on one device. title: what runs them."""

    title: str
    precision: str
    config: ModelConfig
    cascade: ContextPool
    plain: ContextPool
    moved: Moved = field(default_factory=Moved)


def make_subject(title: str, precision: str, config: ModelConfig, cascade: Device, plain: Device) -> Subject:
    """Open the pools of two devices. Raises BackendError."""
    moved = Moved()
    pool = ContextPool(CountedDevice(cascade, moved), config)
    pool.warm()
    return Subject(title, precision, config, pool, plain_pool(CountedDevice(plain, moved), config), moved)


def open_subject(settings: Settings, *, plain_layout: bool = False, capture: bool = False) -> Subject:
    """Open the bundle whose speed is measured, in ONNX Runtime. Raises BackendError, BundleError.

    The CPU is a device here, too: its engines go the way that a GPU's go. plain_layout: without the engines laid out
    for a GPU, for both the cascade and the plain DeiT. capture: with calls recorded, for both.
    """
    config, backend, files = open_files(settings.speed, settings)
    if plain_layout:
        files = {**open_bundle(settings.speed).held_files(settings.precision)}
    plain = plain_files(backend, files[BASELINE], files["weights"], config, settings.precision, max(settings.batches))
    devices = (on_device(backend, given, settings, capture) for given in (files, plain))
    return make_subject(backend.description, settings.precision, config, *devices)


def open_files(bundle: Path, settings: Settings) -> tuple[ModelConfig, OnnxRuntimeBackend, dict[str, EngineFile]]:
    """Open a bundle's files with ONNX Runtime on the settings' device. Raises BackendError, BundleError.

    A trial on the CPU takes those that CUDA takes.
    """
    opened = open_bundle(bundle)
    backend = OnnxRuntimeBackend(settings.device, usable_cores())
    if settings.on_cpu:
        return opened.manifest.config, backend, {**opened.held_files(settings.precision, for_gpu=True)}
    return opened.manifest.config, backend, {**backend.files(opened, settings.precision)}


def on_device(
    backend: OnnxRuntimeBackend, files: Mapping[str, EngineFile], settings: Settings, capture: bool = False
) -> OnnxRuntimeDevice:
    """Return the device of some files, whose engines are opened when they are asked for; the CPU records nothing."""
    return OnnxRuntimeDevice(backend.sessions, files, parse_device(settings.device).number, capture)


@functools.lru_cache(maxsize=2)
def noise(config: ModelConfig, count: int) -> Pixels:
    """Make pictures [count,S,S,3] of noise, of varying brightness so that stage 1's probabilities differ, shuffled.

    Several calls share them: change nothing in them.
    """
    side, rng = config.geometry.image_size, np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    for picture, factor in zip(pixels, rng.permutation(np.linspace(0.2, 1, count, dtype=np.float32)), strict=True):
        picture[:] = picture * factor
    return pixels
