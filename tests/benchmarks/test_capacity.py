"""Replicas for a rate: the arithmetic, and the command on a real bench."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sacvit_deploy import StageOne, StageTwoRequest
from sacvit_deploy.benchmarks.capacity import capacity, main
from sacvit_deploy.benchmarks.report.results import BenchRow
from sacvit_deploy.benchmarks.spread import Spread
from tests.data import record

STEPS = {"view": 1.0, "ee": 7.0, "gate": 0.0, "gather": 0.5, "sac": 1.4, "answer": 0.1}
ROW = BenchRow(
    scope="engine", batch=8, threads=1, contender="cascade", precision="fp32", gate={"eta": 0.6}, pictures=8, rounds=2,
    steady=True, ms=Spread(20.0, 19.0, 21.0), rounds_ms=(20.0,), latency_ms={}, steps_ms=STEPS, gmacs=None,
    continued=0.25, ideal=None,
)  # fmt: skip


def test_the_arithmetic() -> None:
    one = StageOne(record.BEFORE, precision="fp32", threads=1)
    request = one.predict_batch([record.TINY_IMAGES[0]], eta=1.0)[0]
    assert isinstance(request, StageTwoRequest)
    config = one.config
    found = capacity(ROW, config, config.method.alpha, rate=500, share=0.3, busy=0.8)
    assert (found.stage_one_ms, found.stage_two_ms) == (pytest.approx(16), pytest.approx(16))  # 10 ms of steps in 20
    # 8,000 ms of stage 1 and 2,400 of stage 2 in each second, 800 of which a replica has.
    assert (found.ee, found.sac, found.together) == (10, 3, 13)
    size = len(request.to_bytes()) - len(request.source)
    assert found.megabytes == pytest.approx(500 * 0.3 * size / 1e6)
    half = capacity(dataclasses.replace(ROW, precision="fp16"), config, config.method.alpha, 500, 0.3, 0.8)
    assert half.megabytes < found.megabytes
    assert capacity(ROW, config, config.method.alpha, rate=1, share=0.0, busy=0.7).sac == 1


def asked(path: Path, *more: str) -> tuple[int, list[str]]:
    """Call the command; its status and lines."""
    done = CliRunner().invoke(main, [str(path), "--rate", "500", "--continue", "0.3", *more])
    return done.exit_code, done.output.splitlines()


def test_the_command_on_a_bench(benched: Any) -> None:
    status, lines = asked(benched.folder / "bench.json")
    assert status == 0 and lines[0].startswith("500 images/s, 30% of which continue")
    assert {line.partition(",")[0] for line in lines[2:]} == {"engine", "file"}
    data = json.loads((benched.folder / "bench.json").read_text())
    data["rows"] = [row for row in data["rows"] if row["contender"] != "cascade" and not row["continued"]]
    other = benched.folder / "other.json"
    other.write_text(json.dumps(data))
    assert asked(other)[0] == 2


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text("{}")
    assert asked(tmp_path / "bench.json")[0] == 2
