"""Steps are processes: a crash, a hang and a call that ends cost only themselves, and rows stay."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.gpu_check.carried import environment
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.running_steps import Record, run_steps
from sacvit_deploy.errors import UsageError

pytestmark = pytest.mark.slow


def test_what_ended_stays_and_what_was_cut_short_runs_again(settings: Settings, tmp_path: Path) -> None:
    around = environment(tmp_path / "none")
    said: list[str] = []
    record = Record(tmp_path / "out", ["first"])
    run_steps(["engines", "latency"], settings, record, 0, around, said.append)
    assert said == ["engines: no time left in this call", "latency: no time left in this call"]
    record = Record(tmp_path / "out", ["second"])
    run_steps(["engines", "latency"], settings, record, 500, around, said.append, {"latency": 0.01})
    record = Record(tmp_path / "out", ["third"])
    assert record.data["commands"] == ["first", "second", "third"]
    steps = record.data["steps"]
    assert steps["engines"]["state"] == "done" and len(steps["engines"]["rows"]) == 12
    assert (
        steps["latency"]["state"] == "stopped"
        and "not done after 0 s; latency.log says where" in steps["latency"]["reason"]
    )
    assert record.pending(["engines", "latency", "facts"]) == ["facts"]
    with pytest.raises(UsageError, match=r"of other settings \(rounds was 1\)"):
        run_steps(["facts"], dataclasses.replace(settings, rounds=2), record, 500, around, said.append)


def test_rows_of_a_step_that_never_ends(settings: Settings, tmp_path: Path) -> None:
    endless = dataclasses.replace(settings, batches=(1,) * 10_000)
    record = Record(tmp_path, ["call"])
    run_steps(["engines"], endless, record, 30, environment(tmp_path), print)
    step = json.loads((tmp_path / "gpu-check.json").read_text())["steps"]["engines"]
    assert step["state"] == "cut short"  # by the call, before its own limit
    assert "engines_alone.py" in (tmp_path / "engines.log").read_text()  # where it was
    assert step["rows"][0]["engine"] == "ee"


def test_a_crash_is_told_by_its_last_line(settings: Settings, tmp_path: Path) -> None:
    record = Record(tmp_path, ["call"])
    broken = {**os.environ, "PYTHONHOME": str(tmp_path / "no python here")}
    run_steps(["facts"], settings, record, 500, broken, print)
    step = record.data["steps"]["facts"]
    assert step["state"] == "failed" and step["reason"].startswith("exit code 1: ")
    assert step["rows"] == []


def test_what_is_missing_is_not_a_crash(settings: Settings, tmp_path: Path) -> None:
    record = Record(tmp_path, ["call"])
    missing = dataclasses.replace(settings, speed=tmp_path / "none.sacvit")
    run_steps(["facts"], missing, record, 500, environment(tmp_path), print)
    step = record.data["steps"]["facts"]
    assert step["state"] == "not run" and "none.sacvit" in step["reason"]
    assert step["rows"][0]["fact"] == "id"  # what was known by then
