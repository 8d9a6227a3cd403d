"""Power, memory and temperature of a Jetson, read from the output of `tegrastats`."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from statistics import fmean

from sacvit_deploy.errors import BackendError

# `VDD_IN 4946mW/4946mW` (now/average), without the average, or `POM_5V_IN 2065/2065` (JetPack 4, also milliwatts).
_RAIL = re.compile(r"\b((?:VDD|VIN|POM)[A-Z0-9_]*) (\d+)(?:mW(?:/\d+mW)?|/\d+)(?!\S)")
_MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB")
_GPU_LOAD = re.compile(r"\bGR3D_FREQ (\d+)%")
_TEMPERATURE = re.compile(r"\b([A-Za-z0-9_]+)@(-?\d+(?:\.\d+)?)C")
# A rail that feeds all the others: Orin Nano and NX, JetPack 4's boards, Thor's carrier board.
WHOLE = ("VDD_IN", "POM_5V_IN", "VIN")
_ABSENT = -200  # degrees; a sensor that is switched off says -256


@dataclass(frozen=True)
class Sample:
    """Reading of tegrastats: watts by rail, memory in MB, load in percent, temperatures in degrees Celsius."""

    powers: dict[str, float]
    memory: int | None
    gpu_load: int | None
    temperatures: dict[str, float]

    @property
    def power(self) -> float | None:
        """Watts of the input rail or, on boards without one (AGX Orin), of all rails together; None without any."""
        if not self.powers:
            return None
        return next((self.powers[rail] for rail in WHOLE if rail in self.powers), sum(self.powers.values()))


@dataclass
class PowerLog:
    """Samples taken while something ran."""

    samples: list[Sample] = field(default_factory=list)

    def read(self, lines: Iterable[str]) -> None:
        """Append the samples of tegrastats' lines as they come; lines of other programs are skipped."""
        for sample in map(parse_line, lines):
            if sample.memory is not None or sample.powers:
                self.samples.append(sample)

    @property
    def power(self) -> float | None:
        """Mean watts (see `Sample.power`), or None."""
        powers = [sample.power for sample in self.samples if sample.power is not None]
        return fmean(powers) if powers else None

    @property
    def peak_memory(self) -> int | None:
        """Largest memory in use by the whole system, in MB, or None."""
        return max((sample.memory for sample in self.samples if sample.memory is not None), default=None)


def parse_line(line: str) -> Sample:
    """Read one line; values that it lacks are absent, never zero."""
    memory, load = _MEMORY.search(line), _GPU_LOAD.search(line)
    temperatures = {name: float(value) for name, value in _TEMPERATURE.findall(line)}
    return Sample(
        powers={rail: int(now) / 1000 for rail, now in _RAIL.findall(line)},
        memory=int(memory[1]) if memory else None,
        gpu_load=int(load[1]) if load else None,
        temperatures={name: value for name, value in temperatures.items() if value > _ABSENT},
    )


@contextlib.contextmanager
def watch(interval: int = 100) -> Iterator[PowerLog]:
    """Run tegrastats during the block, a sample every `interval` milliseconds. Raises BackendError off a Jetson."""
    tool = shutil.which("tegrastats")
    if tool is None:
        raise BackendError("tegrastats is not installed; it comes with JetPack, on a Jetson")
    record = PowerLog()
    with subprocess.Popen([tool, "--interval", str(interval)], stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=record.read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            yield record
        finally:
            process.terminate()
            reader.join()
