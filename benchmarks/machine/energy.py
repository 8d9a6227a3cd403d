"""Energy counters of the machine: RAPL of CPUs, NVML of GPUs, tegrastats of a Jetson."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.benchmarks.machine.fingerprint import nvidia_gpus
from sacvit_deploy.benchmarks.machine.tegrastats import watch

TEGRA_MS = 50  # between two samples of tegrastats
RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Meter:
    """Energy counter. joules: reads it, from a fixed moment on, so that only differences mean anything."""

    name: str
    joules: Callable[[], float]


def rapl(folder: Path) -> Meter:
    """Open the counter of one Intel or AMD CPU package. Raises OSError, ValueError."""
    counter, size = folder / "energy_uj", int((folder / "max_energy_range_uj").read_text())
    last, wrapped = int(counter.read_text()), 0

    def joules() -> float:
        nonlocal last, wrapped
        now = int(counter.read_text())
        wrapped += size if now < last else 0  # the hardware counter began anew
        last = now
        return (now + wrapped) / 1e6

    return Meter(f"RAPL, {(folder / 'name').read_text().strip()}", joules)


def nvml(library: Any, gpu: Any, name: str) -> Meter:
    """Open the counter of one NVIDIA GPU. Raises NVMLError for older GPUs, which have none."""
    library.nvmlDeviceGetTotalEnergyConsumption(gpu)
    return Meter(name, lambda: float(library.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1000)


def find_meters(stack: contextlib.ExitStack, powercap: Path = RAPL) -> list[Meter]:
    """Open every counter that this process may read, until the stack ends; in containers often none."""
    meters = []
    for folder in sorted(powercap.glob("intel-rapl:*")):
        if folder.name.count(":") == 1:  # deeper ones are parts of a package
            with contextlib.suppress(OSError, ValueError):
                meters.append(rapl(folder))
    if shutil.which("tegrastats"):
        log = stack.enter_context(watch(TEGRA_MS))
        # The rails' watts, integrated over the samples so far.
        meters.append(Meter("tegrastats", lambda: sum(one.power or 0.0 for one in log.samples) * TEGRA_MS / 1000))
    library, gpus = nvidia_gpus()
    for index, (gpu, _) in enumerate(gpus):
        with contextlib.suppress(library.NVMLError):
            meters.append(nvml(library, gpu, f"NVML, GPU {index}"))
    return meters


def total(meters: Sequence[Meter]) -> float | None:
    """Sum the joules of all counters; None where there is none."""
    return sum(meter.joules() for meter in meters) if meters else None
