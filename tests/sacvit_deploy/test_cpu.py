"""How many threads: cores, a container's quota, OMP_NUM_THREADS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacvit_deploy.commands.doctor import doctor_table, examine
from sacvit_deploy.cpu import CoreLimits, core_limits, usable_cores
from sacvit_deploy.cpu_quota import cpu_quota

REPOSITORY = Path(__file__).parents[2]
V1 = "4:memory:/\n3:cpu,cpuacct:{group}\n1:name=systemd:/\n"
V2 = "0::{group}\n"


def quota(tmp_path: Path, membership: str, files: dict[str, str]) -> float | None:
    """The quota read from control groups as they look in `files`."""
    listed, hierarchy = tmp_path / "cgroup", tmp_path / "fs"
    listed.write_text(membership)
    hierarchy.mkdir()
    for name, text in files.items():
        file = hierarchy / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return cpu_quota(listed, hierarchy)


def v1(folder: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        # A container that sees its own group as the root.
        (V2.format(group="/"), {"cpu.max": "150000 100000"}, 1.5),
        (V2.format(group="/"), {"cpu.max": "max 100000"}, None),
        # The machine's view, and one where the mount is the container's although the name is the machine's.
        (V2.format(group="/system.slice/a.service"), {"system.slice/a.service/cpu.max": "50000 100000"}, 0.5),
        (V2.format(group="/docker/4f1a"), {"cpu.max": "400000 200000"}, 2.0),
        # The tightest on the way up, wherever it is.
        (V2.format(group="/pod/app"), {"pod/app/cpu.max": "max 100000", "pod/cpu.max": "300000 100000"}, 3.0),
        (V2.format(group="/pod/app"), {"pod/app/cpu.max": "100000 100000", "pod/cpu.max": "300000 100000"}, 1.0),
        (V2.format(group="/pod/app"), {"pod/app/cpu.max": "500000 100000", "pod/cpu.max": "300000 100000"}, 3.0),
        # A process outside of the namespace's root.
        (V2.format(group="/../other"), {"cpu.max": "200000 100000"}, 2.0),
        # Version 1, by both names of the mount; version 2 beside it holds no CPU controller.
        (V1.format(group="/docker/4f1a"), v1("cpu,cpuacct/docker/4f1a", "250000"), 2.5),
        (V1.format(group="/docker/4f1a"), v1("cpu", "250000", "50000"), 5.0),
        (V1.format(group="/"), v1("cpu,cpuacct", "-1"), None),
        (V1.format(group="/a") + "0::/a\n", {**v1("cpu,cpuacct/a", "100000"), "unified/a/x": ""}, 1.0),
        # Nothing there, or nothing that can be read.
        (V1.format(group="/"), {}, None),
        (V2.format(group="/"), {}, None),
        (V2.format(group="/"), {"cpu.max": ""}, None),
        (V2.format(group="/"), {"cpu.max": "many 100000"}, None),
        (V2.format(group="/"), {"cpu.max": "100000 0"}, None),
        ("", {"cpu.max": "100000 100000"}, None),
        ("4:cpuset:/\n", v1("cpuset", "100000"), None),
    ],
)
def test_quotas(membership: str, files: dict[str, str], expected: float | None, tmp_path: Path) -> None:
    assert quota(tmp_path, membership, files) == expected


def test_no_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "none", tmp_path) is None


@pytest.mark.parametrize(
    ("affinity", "limit", "omp", "cores"),
    [
        (8, None, None, 8),
        (8, 1.5, None, 2),
        (8, 0.2, None, 1),
        (2, 6.0, None, 2),
        (8, 4.0, 2, 2),
        (8, 4.0, 16, 4),
        (8, 3.0000001, 8, 4),
    ],
)
def test_the_tightest_limit_counts(affinity: int, limit: float | None, omp: int | None, cores: int) -> None:
    assert CoreLimits(affinity, limit, omp).cores == cores


@pytest.mark.parametrize(("value", "omp"), [("3", 3), ("3,2", 3), ("0", None), ("-1", None), ("all", None), ("", None)])
def test_omp_num_threads(value: str, omp: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert core_limits().omp == omp
    assert usable_cores() == core_limits().cores >= 1


def test_doctor_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    facts = json.loads(json.dumps(examine()))
    assert facts["cores"] == usable_cores()
    facts["cores"], facts["core_limits"] = 2, {"affinity": 8, "quota": 1.5, "omp": 4}
    assert "threads      2: affinity to 8 cores, a quota of 1.5 CPUs, OMP_NUM_THREADS is 4" in doctor_table(facts)
    facts["core_limits"] = {"affinity": 2, "quota": None, "omp": None}
    assert "threads      2: affinity to 2 cores, no CPU quota\n" in doctor_table(facts)


@pytest.fixture
def limited_group() -> Iterator[Path]:
    """A control group of version 1 or 2 whose quota is 1.5 CPUs."""
    hierarchy = Path("/sys/fs/cgroup")
    group = (hierarchy if (hierarchy / "cgroup.controllers").exists() else hierarchy / "cpu") / f"quota-{os.getpid()}"
    try:
        group.mkdir()
        if (group / "cpu.cfs_quota_us").exists():
            (group / "cpu.cfs_quota_us").write_text("150000")
        else:
            (group / "cpu.max").write_text("150000 100000")
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group can be made here ({error})")
    yield group
    group.rmdir()  # where nobody is left in it


def test_a_real_quota_is_found(limited_group: Path) -> None:
    code = """
import sys
open(sys.argv[1], "w").write("0")  # moves this process into the group
from sacvit_deploy.cpu import core_limits
print(core_limits().quota)
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    call = [sys.executable, "-c", code, limited_group / "cgroup.procs"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1.5\n", "")
