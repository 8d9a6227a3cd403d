"""Lines in the formats that tegrastats has on several boards and JetPacks."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.benchmarks.machine.tegrastats import PowerLog, Sample, parse_line, watch
from sacvit_deploy.errors import BackendError

ORIN_NX = (
    "11-21-2026 10:00:01 RAM 2722/15523MB (lfb 7x4MB) SWAP 0/7762MB (cached 0MB) CPU [0%@729,off,4%@1190,0%@729] "
    "EMC_FREQ 1%@2133 GR3D_FREQ 76%@[611] NVENC off VIC_FREQ 115 APE 174 cpu@47.5C tboard@36C soc2@45.1C cv0@-256C "
    "gpu@46.625C tj@47.5C VDD_IN 5765mW/5300mW VDD_CPU_GPU_CV 1548mW/1200mW VDD_SOC 1497mW/1400mW"
)
AGX_ORIN = (
    "RAM 12000/62841MB (lfb 4x4MB) GR3D_FREQ 99%@[1300,1300] GPU@51.0C "
    "VDD_GPU_SOC 5000mW/4400mW VDD_CPU_CV 1500mW/1300mW VIN_SYS_5V0 3000mW/2900mW"
)
THOR = (
    "RAM 9000/125772MB VDD_GPU 8000mW/8000mW VDD_CPU_SOC_MSS 9000mW/9000mW VIN_SYS_5V0 4000mW/4000mW "
    "VIN 30000mW/30000mW"
)
NANO = "RAM 1346/3964MB (lfb 2x1MB) GR3D_FREQ 12%@76 PMIC@50C GPU@33.5C POM_5V_IN 2065/2065 POM_5V_GPU 82/82"
NO_AVERAGE = "RAM 2840/7620MB (lfb 512x4MB) GR3D_FREQ 40% VDD_IN 5765mW VDD_CPU_GPU_CV 1548mW"


def test_a_whole_line() -> None:
    found = parse_line(ORIN_NX)
    assert found.powers == {"VDD_IN": 5.765, "VDD_CPU_GPU_CV": 1.548, "VDD_SOC": 1.497}
    assert (found.memory, found.gpu_load) == (2722, 76)
    assert found.temperatures["gpu"] == 46.625
    assert "cv0" not in found.temperatures  # a sensor that is off


@pytest.mark.parametrize(
    ("line", "watts", "memory"),
    [
        (ORIN_NX, 5.765, 2722),
        (AGX_ORIN, 9.5, 12000),
        (THOR, 30.0, 9000),
        (NANO, 2.065, 1346),
        (NO_AVERAGE, 5.765, 2840),
    ],
)
def test_power_of_the_module(line: str, watts: float, memory: int) -> None:
    assert parse_line(line).power == pytest.approx(watts)
    assert parse_line(line).memory == memory


def test_what_is_not_said_is_absent_not_zero() -> None:
    assert parse_line("RAM 5/10MB") == Sample({}, 5, None, {})
    assert parse_line("RAM 5/10MB").power is None
    assert PowerLog().power is None
    assert PowerLog().peak_memory is None


def test_a_log() -> None:
    record = PowerLog()
    record.read([ORIN_NX, "no such line", "", ORIN_NX.replace("5765", "7765").replace("2722", "3000")])
    assert len(record.samples) == 2
    assert record.power == pytest.approx(6.765)
    assert record.peak_memory == 3000


@given(st.text())
def test_any_text_is_read_without_error(text: str) -> None:
    parse_line(text)


def test_without_the_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="tegrastats is not installed"), watch():
        pass


def test_watching_a_program_that_prints_like_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "tegrastats"
    tool.write_text(f"#!/bin/sh\nwhile true; do echo '{ORIN_NX}'; sleep 0.02; done\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with watch(20) as record:
        deadline = time.monotonic() + 60
        while len(record.samples) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert record.power == pytest.approx(5.765)
