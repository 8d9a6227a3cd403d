"""The pure parts: spreads, rounds, ratios of rows, verdicts, energy counters, results that were damaged."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.benchmarks.bench import with_ratios
from sacvit_deploy.benchmarks.compare import FASTER, SAME, SLOWER, compare
from sacvit_deploy.benchmarks.energy import TEGRA_MS, find_meters, total
from sacvit_deploy.benchmarks.results import Report, Row, read_json, write_json
from sacvit_deploy.benchmarks.rounds import MOST_WARM_UP, STRETCH, interleave
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread, unsteadiness
from sacvit_deploy.errors import UsageError

TIMES = st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=1, max_size=30)


@given(TIMES)
def test_spread_and_percentiles_are_of_what_was_measured(values: list[float]) -> None:
    found = spread(values)
    assert (found.low, found.high) == (min(values), max(values))
    assert found.median == statistics.median(values)
    for share in (0.0, 0.5, 0.95, 1.0):
        at = percentile(values, share)
        assert at in values
        assert sum(value <= at for value in values) >= share * len(values)
        assert sum(value < at for value in values) <= share * len(values)
    assert unsteadiness(values) >= 0
    assert unsteadiness([values[0]] * 3) == 0


@given(TIMES, st.floats(min_value=0.1, max_value=10))
def test_ratios_are_within_rounds(values: list[float], factor: float) -> None:
    found = ratio([factor * value for value in values], values)
    assert (found.low, found.median, found.high) == pytest.approx((factor,) * 3)


def test_no_spread_of_nothing() -> None:
    for values in ([], [float("nan")], [1.0, float("inf")]):
        with pytest.raises(UsageError):
            spread(values)
    with pytest.raises(UsageError):
        percentile([], 0.5)


# --- rounds


@dataclass
class Took:
    """A run of made-up length."""

    seconds: float


def recorder(log: list[str], name: str, seconds: Callable[[int], float]) -> Callable[[], Took]:
    def run() -> Took:
        log.append(name)
        return Took(seconds(log.count(name)))

    return run


def test_contenders_take_turns_and_each_begins_a_round() -> None:
    log: list[str] = []
    found = interleave({name: recorder(log, name, lambda turn: 1.0) for name in "abc"}, 3)
    assert "".join(log) == "abc" + "bca" + "cab" + "abc" + "bca"  # two to warm up, three that count
    assert (found.warm_up, found.passed_over) == (2, 0)
    assert found.steady == {"a": True, "b": True, "c": True}
    assert {name: len(runs) for name, runs in found.runs.items()} == {"a": 3, "b": 3, "c": 3}


def test_warming_up_ends_when_two_rounds_agree() -> None:
    log: list[str] = []
    found = interleave({"a": recorder(log, "a", lambda turn: {1: 9.0, 2: 5.0}.get(turn, 1.0))}, 2)
    assert found.warm_up == 4
    assert [run.seconds for run in found.runs["a"]] == [1.0, 1.0]


def test_a_window_moves_on_until_it_is_steady() -> None:
    log: list[str] = []
    slow = {3: 2.0, 4: 3.0}
    found = interleave({"a": recorder(log, "a", lambda turn: slow.get(turn, 1.0))}, 3)
    assert found.passed_over == 2
    assert [run.seconds for run in found.runs["a"]] == [1.0, 1.0, 1.0]
    assert found.steady["a"]


def test_what_never_gets_steady_is_told_so() -> None:
    log: list[str] = []
    contenders = {"a": recorder(log, "a", float), "b": recorder(log, "b", lambda turn: 1.0)}
    found = interleave(contenders, 4)
    assert found.steady == {"a": False, "b": True}
    assert (found.warm_up, found.passed_over) == (MOST_WARM_UP, (STRETCH - 1) * 4)
    assert [run.seconds for run in found.runs["a"]] == [9.0, 10.0, 11.0, 12.0]
    for bad in ({}, {"a": recorder([], "a", float)}):
        with pytest.raises(UsageError):
            interleave(bad, 0)


# --- rows and verdicts


def row(contender: str, precision: str, *rounds_ms: float, gate: float | None = None) -> Row:
    return Row(
        scope="engine",
        batch=8,
        threads=2,
        contender=contender,
        precision=precision,
        gate=None if gate is None else {"forced": gate},
        pictures=10,
        rounds=len(rounds_ms),
        steady=True,
        ms=spread(rounds_ms),
        rounds_ms=list(rounds_ms),
        latency_ms={"p50": 1.0, "p95": 1.0, "p99": 1.0},
        steps_ms={"engine": 1.0},
        gmacs=None,
        continued=gate,
        ideal=None,
    )


def test_reduced_variants_are_compared_three_ways() -> None:
    found = with_ratios(
        [
            row("cascade", "fp32", 20, 22, gate=0.23),
            row("cascade", "fp32", 30, 30, gate=0.4),
            row("deit", "fp32", 50, 55),
            row("cascade", "int8", 8, 8, gate=0.23),
            row("deit", "int8", 24, 16),
            row("vs:a.onnx", "as is", 10, 11),
        ]
    )
    ratios = [{name: (s.low, s.high) for name, s in one.ratios.items()} for one in found]
    assert ratios[0] == {"deit": (2.5, 2.5)}
    assert ratios[2] == {}
    assert ratios[3] == {"deit": (2.0, 3.0), "deit.fp32": (6.25, 6.875), "same.fp32": (2.5, 2.75)}
    assert ratios[4] == {
        "deit.fp32": (pytest.approx(50 / 24), pytest.approx(55 / 16)),
        "same.fp32": (pytest.approx(50 / 24), pytest.approx(55 / 16)),
    }
    assert ratios[5] == {"deit": (5.0, 5.0)}


def report(*rows: Row, machine: str = "a") -> Report:
    return Report({"machine": {"id": machine}}, with_ratios(rows))


def test_verdicts_respect_the_spread() -> None:
    old = report(row("cascade", "fp32", 20, 22, gate=0.23), row("deit", "fp32", 50, 55), row("sait", "fp32", 30, 31))
    new = report(row("cascade", "fp32", 10, 12, gate=0.23), row("deit", "fp32", 54, 56), row("stvit", "fp32", 30, 31))
    found = {(one.name.rpartition(": ")[2], one.quantity): one for one in compare(old, new).verdicts}
    assert found["deit fp32", "ms"].verdict == SAME
    assert found["cascade 23% fp32", "ms"].verdict == FASTER
    assert found["cascade 23% fp32", "ratio to DeiT"].verdict == FASTER
    assert found["cascade 23% fp32", "ms"].change == pytest.approx(21 / 11)
    back = {(one.name.rpartition(": ")[2], one.quantity): one for one in compare(new, old).verdicts}
    assert back["cascade 23% fp32", "ratio to DeiT"].verdict == SLOWER
    for key, one in found.items():
        assert one.change == pytest.approx(1 / back[key].change)
    whole = compare(old, new)
    assert [name.rpartition(": ")[2] for name in (*whole.only_old, *whole.only_new)] == ["sait fp32", "stvit fp32"]
    assert "2 faster, 0 slower, 1 same" in whole.table()


def test_times_of_other_machines_are_not_compared() -> None:
    rows = (row("cascade", "fp32", 20, 22, gate=0.23), row("deit", "fp32", 50, 55))
    found = compare(report(*rows), report(*rows, machine="b"))
    assert not found.same_machine
    assert {one.quantity for one in found.verdicts} == {"ratio to DeiT"}
    assert "machines differ" in found.table()


@given(TIMES, TIMES)
def test_verdicts_are_the_mirror_of_the_other_way_round(first: list[float], second: list[float]) -> None:
    a, b = report(row("sait", "fp32", *first)), report(row("sait", "fp32", *second))
    there, back = compare(a, b).verdicts[0].verdict, compare(b, a).verdicts[0].verdict
    assert {FASTER: SLOWER, SLOWER: FASTER, SAME: SAME}[there] == back
    assert compare(a, a).verdicts[0].verdict == SAME


def test_results_that_were_damaged(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    whole = report(row("deit", "fp32", 1, 2), row("cascade", "fp32", 1, 2, gate=0.5))
    write_json(whole, path)
    assert read_json(path).rows == whole.rows
    data = json.loads(path.read_text())
    for change, said in (
        ({"kind": "other"}, "no result"),
        ({"schema": 2}, "schema 2"),
        ({"rows": [{**data["rows"][0], "ms": {"median": 1, "low": 2, "high": 3}}]}, "was changed"),
        ({"rows": [{"scope": "engine"}]}, "was changed"),
        ({"rows": None}, "was changed"),
        ({"processes": [1]}, "was changed"),
    ):
        path.write_text(json.dumps({**data, **change}))
        with pytest.raises(UsageError, match=said):
            read_json(path)
    for text in ("", "[]", "{", "7"):
        path.write_text(text)
        with pytest.raises(UsageError):
            read_json(path)
    assert Spread(1, 1, 1).overlaps(Spread(1, 1, 2))


# --- energy


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
