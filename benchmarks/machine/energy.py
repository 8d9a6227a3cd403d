"""Energy counters of the machine: RAPL of CPUs, NVML of GPUs, tegrastats of a Jetson."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sacvit_deploy.benchmarks.machine.tegrastats import PowerLog, watch

TEGRA_MS = 50  # between two samples of tegrastats
RAPL = Path("/sys/class/powercap")


class Meter(Protocol):
    """Counter of joules; another kind joins in `find_meters`."""

    @property
    def name(self) -> str:
        """Name of the counter, such as `RAPL, package-0`."""
        ...

    def joules(self) -> float:
        """Return joules since a fixed moment; only differences mean anything."""
        ...


class Rapl:
    """Counter of one Intel or AMD CPU package; wrap-arounds of the hardware counter are added back."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._label = (folder / "name").read_text().strip()
        self._last, self._wrapped = self._read(), 0

    @property
    def name(self) -> str:
        """Name with the package."""
        return f"RAPL, {self._label}"

    def joules(self) -> float:
        """Read the counter."""
        now = self._read()
        if now < self._last:
            self._wrapped += self._range
        self._last = now
        return (now + self._wrapped) / 1e6

    def _read(self) -> int:
        return int(self._counter.read_text())


class Nvml:
    """Counter of one NVIDIA GPU."""

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._handle = library.nvmlDeviceGetHandleByIndex(index)
        self._label = f"GPU {index}"
        self.joules()  # raises here on older GPUs, which have no counter

    @property
    def name(self) -> str:
        """Name with the GPU's index."""
        return f"NVML, {self._label}"

    def joules(self) -> float:
        """Read the counter."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000


class Tegra:
    """Energy of a Jetson's rails, integrated from the watts that tegrastats samples."""

    name = "tegrastats"

    def __init__(self, record: PowerLog) -> None:
        self._record = record

    def joules(self) -> float:
        """Integrate the samples so far."""
        return sum(sample.power or 0.0 for sample in self._record.samples) * TEGRA_MS / 1000


def find_meters(stack: contextlib.ExitStack, rapl: Path = RAPL) -> list[Meter]:
    """Open every counter that this process may read, until the stack ends; in containers often none."""
    meters: list[Meter] = []
    for folder in sorted(rapl.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:  # deeper ones are parts of a package
            with contextlib.suppress(OSError, ValueError):
                meters.append(Rapl(folder))
    if shutil.which("tegrastats"):
        meters.append(Tegra(stack.enter_context(watch(TEGRA_MS))))
    return meters + _gpus()


def _gpus() -> list[Meter]:
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:
        return []
    meters: list[Meter] = []
    for index in range(count):
        with contextlib.suppress(pynvml.NVMLError):
            meters.append(Nvml(pynvml, index))
    return meters


def total(meters: Sequence[Meter]) -> float | None:
    """Sum the joules of all counters; None where there is none."""
    return sum(meter.joules() for meter in meters) if meters else None
