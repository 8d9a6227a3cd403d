"""Ratios of rows, and the comparison of two benches."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.benchmarks.bench import with_ratios
from sacvit_deploy.benchmarks.report.compare import FASTER, SAME, SLOWER, UNTOLD, compare_benches

from .making import report, row

TIMES = st.lists(st.floats(min_value=1e-6, max_value=1e6), min_size=3, max_size=30)


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


def test_verdicts_respect_the_spread() -> None:
    old = report(
        row("cascade", "fp32", 20, 21, 22, gate=0.23), row("deit", "fp32", 50, 52, 55), row("sait", "fp32", 3, 3, 3)
    )
    new = report(
        row("cascade", "fp32", 10, 11, 12, gate=0.23), row("deit", "fp32", 54, 55, 56), row("stvit", "fp32", 3, 3, 3)
    )
    found = {(one.name.rpartition(": ")[2], one.quantity): one for one in compare_benches(old, new).verdicts}
    assert found["deit fp32", "ms"].verdict == SAME
    assert found["cascade 23% fp32", "ms"].verdict == FASTER
    assert found["cascade 23% fp32", "ratio to DeiT"].verdict == FASTER
    assert found["cascade 23% fp32", "ms"].change == pytest.approx(21 / 11)
    back = {(one.name.rpartition(": ")[2], one.quantity): one for one in compare_benches(new, old).verdicts}
    assert back["cascade 23% fp32", "ratio to DeiT"].verdict == SLOWER
    for key, one in found.items():
        assert one.change == pytest.approx(1 / back[key].change)
    touching = compare_benches(report(row("deit", "fp32", 1, 1, 1)), report(row("deit", "fp32", 1, 2, 2)))
    assert [one.verdict for one in touching.verdicts] == [SAME]
    whole = compare_benches(old, new)
    assert [name.rpartition(": ")[2] for name in (*whole.only_old, *whole.only_new)] == ["sait fp32", "stvit fp32"]
    assert "2 faster, 0 slower, 1 same" in whole.table()


def test_times_of_other_machines_are_not_compared() -> None:
    rows = (row("cascade", "fp32", 20, 22, gate=0.23), row("deit", "fp32", 50, 55))
    found = compare_benches(report(*rows), report(*rows, machine="b"))
    assert not found.same_machine
    assert {one.quantity for one in found.verdicts} == {"ratio to DeiT"}
    assert "machines differ" in found.table()


def test_two_rounds_decide_nothing() -> None:
    found = compare_benches(report(row("deit", "fp32", 9, 9)), report(row("deit", "fp32", 1, 1, 1)))
    assert [one.verdict for one in found.verdicts] == [UNTOLD]
    assert "0 faster, 0 slower, 0 same, 1 too few rounds" in found.table()


def test_rows_that_depend_on_the_images_need_the_same_images() -> None:
    forced = row("cascade", "fp32", 20, 21, 22, gate=0.23)
    rows = (forced, dataclasses.replace(forced, gate={"eta": 0.6}), dataclasses.replace(forced, scope="file"))
    assert len(compare_benches(report(*rows), report(*rows)).verdicts) == 3
    found = compare_benches(report(*rows), report(*rows, images="drawings", alpha=0.3))
    assert [one.name.rpartition(": ")[2] for one in found.verdicts] == ["cascade 23% fp32"]
    assert (
        "The images differ (photos and drawings): rows from files and of a real gate are not compared." in found.table()
    )
    assert "The alphas differ" in found.table() and "models differ" not in found.table()


@given(TIMES, TIMES)
def test_verdicts_are_the_mirror_of_the_other_way_round(first: list[float], second: list[float]) -> None:
    a, b = report(row("sait", "fp32", *first)), report(row("sait", "fp32", *second))
    there, back = compare_benches(a, b).verdicts[0].verdict, compare_benches(b, a).verdicts[0].verdict
    assert {FASTER: SLOWER, SLOWER: FASTER, SAME: SAME}[there] == back
    assert compare_benches(a, a).verdicts[0].verdict == SAME
