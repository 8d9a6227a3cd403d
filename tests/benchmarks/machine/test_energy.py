"""Energy counters, from made-up files and a made-up tegrastats."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.machine.energy import TEGRA_MS, find_meters, total


def rapl(folder: Path, name: str, microjoules: int) -> Path:
    package = folder / name
    package.mkdir(parents=True, exist_ok=True)
    (package / "energy_uj").write_text(f"{microjoules}\n")
    (package / "max_energy_range_uj").write_text("1000000000\n")
    (package / "name").write_text("package-0\n")
    return package / "energy_uj"


def test_rapl_counts_on_when_its_counter_begins_anew(tmp_path: Path) -> None:
    counter = rapl(tmp_path, "intel-rapl:0", 999_000_000)
    rapl(tmp_path, "intel-rapl:0:0", 5)  # a part of the package, in it already
    meters = [meter for meter in find_meters(ExitStack(), tmp_path) if meter.name.startswith("RAPL")]
    assert [meter.name for meter in meters] == ["RAPL, package-0"]
    before = total(meters)
    counter.write_text("3000000\n")
    after = total(meters)
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(4.0)


def test_no_counter_is_nothing_not_zero(tmp_path: Path) -> None:
    assert not [meter for meter in find_meters(ExitStack(), tmp_path) if meter.name.startswith("RAPL")]
    assert total([]) is None
    (tmp_path / "intel-rapl:0").mkdir()  # its files can't be read, as without root
    assert not [meter for meter in find_meters(ExitStack(), tmp_path) if meter.name.startswith("RAPL")]


def test_a_jetsons_rails_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tegrastats"
    line = "RAM 1/2MB (lfb 1x1MB) VDD_IN 5000mW/5000mW"
    tool.write_text(f"#!/bin/sh\nfor n in 1 2 3 4; do echo '{line}'; done; exec sleep 120\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ExitStack() as stack:
        (meter,) = (found for found in find_meters(stack, tmp_path / "none") if found.name == "tegrastats")
        deadline = time.monotonic() + 60
        while meter.joules() < 0.99 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert meter.joules() == pytest.approx(4 * 5.0 * TEGRA_MS / 1000)
