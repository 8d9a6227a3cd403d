"""Energy counters: what the machine itself says it used, and nothing where it says nothing."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from sacvit_deploy.tegrastats import Record, watch

TEGRA_MS = 50  # between two samples
RAPL = Path("/sys/class/powercap")


class Meter(Protocol):
    """A counter of joules. Other counters (a Jetson's rails, say) join by these two methods."""

    @property
    def name(self) -> str:
        """What it counts, for people: `RAPL, package-0`."""
        ...

    def joules(self) -> float:
        """Joules since some fixed moment; only differences mean anything."""
        ...


class Rapl:
    """Intel's and AMD's counter of one CPU package, with what it lost when it began anew."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._label = (folder / "name").read_text().strip()
        self._last, self._lost = self._read(), 0

    @property
    def name(self) -> str:
        """Which package."""
        return f"RAPL, {self._label}"

    def joules(self) -> float:
        """Read it."""
        now = self._read()
        if now < self._last:
            self._lost += self._range
        self._last = now
        return (now + self._lost) / 1e6

    def _read(self) -> int:
        return int(self._counter.read_text())


class Nvml:
    """The counter of one NVIDIA GPU."""

    def __init__(self, library: Any, index: int) -> None:
        self._library = library
        self._handle = library.nvmlDeviceGetHandleByIndex(index)
        self._label = f"GPU {index}"
        self.joules()  # older GPUs have none, and say so here

    @property
    def name(self) -> str:
        """Which GPU."""
        return f"NVML, {self._label}"

    def joules(self) -> float:
        """Read it."""
        return float(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000


class Tegra:
    """A Jetson's rails, whose watts tegrastats tells so many times a second."""

    name = "tegrastats"

    def __init__(self, record: Record) -> None:
        self._record = record

    def joules(self) -> float:
        """Add up the watts told so far."""
        return sum(sample.power or 0.0 for sample in self._record.samples) * TEGRA_MS / 1000


def find_meters(stack: contextlib.ExitStack, rapl: Path = RAPL) -> list[Meter]:
    """Every counter that this machine lets this process read, until the stack ends; in containers often none."""
    found: list[Meter] = []
    for folder in sorted(rapl.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:  # deeper ones are parts of a package
            with contextlib.suppress(OSError, ValueError):
                found.append(Rapl(folder))
    if shutil.which("tegrastats"):
        found.append(Tegra(stack.enter_context(watch(TEGRA_MS))))
    return found + _gpus()


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
    found: list[Meter] = []
    for index in range(count):
        with contextlib.suppress(pynvml.NVMLError):
            found.append(Nvml(pynvml, index))
    return found


def total(meters: Sequence[Meter]) -> float | None:
    """Joules of all counters; None where there is none."""
    return sum(meter.joules() for meter in meters) if meters else None
