"""`sacvit plan`: replicas for a rate, counted from a bench's rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sacvit_deploy import StageOne, StageTwoRequest, UsageError
from sacvit_deploy.benchmarks.capacity import capacity, choose_row, request_bytes, stage_ms
from sacvit_deploy.benchmarks.cli_plan import command
from sacvit_deploy.benchmarks.report.results import BenchRow
from sacvit_deploy.bundle.bundle import open_bundle
from tests.benchmarks.report.making import report, row
from tests.data import record

CONFIG = open_bundle(record.BEFORE).manifest.config
BUNDLE = {"config": CONFIG.to_dict(), "alpha": 0.5}


def cascade(continued: float, precision: str = "int8", **more: Any) -> BenchRow:
    """A row: 1 ms of stage 1, 2 ms of stage 2 for an image that continues, 0.1 ms that no step has."""
    steps = {"view": 0.2, "ee": 0.7, "gate": 0.1, "gather": 0.3 * continued, "sac": 1.6 * continued}
    steps["answer"] = 0.1 * continued
    made = row("cascade", precision, 1.1 + 2 * continued, gate=continued)
    return dataclasses.replace(made, **{"steps_ms": steps, "threads": 1, **more})


def test_what_a_row_says_of_each_stage() -> None:
    assert stage_ms(cascade(0.25)) == pytest.approx((1.1, 2.0))
    decoded = cascade(0.25, threads=2, scope="file")
    steps = {**decoded.steps_ms, "decode": 3.0, "preprocess": 1.0}
    assert stage_ms(dataclasses.replace(decoded, steps_ms=steps)) == pytest.approx((3.0, 2.0))


def test_replicas_of_a_rate() -> None:
    found = capacity(cascade(0.25), BUNDLE, rate=1000, share=0.3, utilisation=0.7)
    assert (found.stage_one.busy, found.stage_two.busy) == pytest.approx((1.1, 0.6))
    assert (found.stage_one.replicas, found.stage_two.replicas, found.whole.replicas) == (2, 1, 3)
    assert found.stage_two.rate == pytest.approx(300) and found.fill_ms == pytest.approx(8 / 300 * 1000)
    assert capacity(cascade(0.25), BUNDLE, rate=1000, share=0.35).stage_two.replicas == 1  # 0.7 busy: exactly one
    nothing = capacity(cascade(0.25), BUNDLE, rate=10, share=0.0)
    assert (nothing.stage_two.replicas, nothing.fill_ms, nothing.request_mbit) == (0, None, 0)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_size_of_a_request_is_the_formats(precision: str) -> None:
    one = StageOne(record.BEFORE, precision=precision, threads=1)
    for alpha in (0.5, 0.2):
        (request,) = one.predict_batch([record.TINY_IMAGES[0]], eta=1.0, alpha=alpha)
        assert isinstance(request, StageTwoRequest)
        name = len(request.source.encode())
        assert request_bytes(CONFIG, precision, alpha) == len(request.to_bytes()) - name


def test_the_row_is_the_cheapest_case_and_its_nearest_share() -> None:
    rows = [
        row("deit", "int8", 1.0),
        cascade(0.2),
        cascade(0.4),
        cascade(0.4, "fp32", ms=dataclasses.replace(cascade(0.4).ms, median=5.0)),
        cascade(0.3, threads=2),
    ]
    bench = report(*rows)
    assert (choose_row(bench, 0.35).continued, choose_row(bench, 0.35).precision) == (0.4, "int8")
    assert choose_row(bench, 0.1).continued == 0.2
    assert choose_row(bench, 0.1, precision="fp32").precision == "fp32"
    assert choose_row(bench, 0.1, threads=2).threads == 2
    files = report(*rows, cascade(0.2, "fp32", scope="file"))
    assert choose_row(files, 0.2).scope == "file" and choose_row(files, 0.2, scope="engine").scope == "engine"
    for wanted in ({"threads": 9}, {"precision": "fp16"}, {"scope": "file"}):
        with pytest.raises(UsageError, match="bench with --continue"):
            choose_row(bench, 0.3, **wanted)
    with pytest.raises(UsageError, match="no row of the cascade"):
        choose_row(report(row("deit", "int8", 1.0), cascade(0.0)), 0.3)


def test_the_command(tmp_path: Path) -> None:
    bench = report(cascade(0.25))
    bench = dataclasses.replace(bench, facts={**bench.facts, "bundle": BUNDLE})
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench.to_dict()))
    said = CliRunner().invoke(command, ["--rate", "500", "--continue", "0.3", str(path)])
    assert said.exit_code == 0, said.output
    assert "500 images/s, 30% continue" in said.output and "taken for granted" in said.output
    asked = [str(path), "--rate", "1000", "--continue", "0.3", "--json"]
    found = json.loads(CliRunner().invoke(command, asked).stdout)
    assert found["stage_one"]["replicas"] == 2 and found["row"]["name"] == "cascade 25% int8"
    for wrong in (["--rate", "0"], ["--rate", "inf"], ["--rate", "5", "--continue", "1.2"]):
        assert CliRunner().invoke(command, [str(path), "--continue", "0.3", *wrong]).exit_code == 2
    path.write_text(json.dumps({**bench.to_dict(), "bundle": {}}))
    assert isinstance(CliRunner().invoke(command, asked).exception, UsageError)
