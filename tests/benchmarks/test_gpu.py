"""The GPU benchmark, run on the CPU: every step but CUDA and TensorRT themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sacvit_deploy.benchmarks.gpu import command
from sacvit_deploy.errors import BackendError


@pytest.mark.slow
def test_rows_for_every_fraction_and_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacvit_deploy.benchmarks.gpu_rows.LEAST", 12)
    out = tmp_path / "gpu.json"
    arguments = ["--geometry", "toy", "--precision", "fp32", "--batch", "4", "--rounds", "2"]
    arguments += ["--work", str(tmp_path / "w")]
    result = CliRunner().invoke(command, [*arguments, "--runtime", "cpu", "--out", str(out)])
    assert result.exit_code == 0, result.output
    facts = json.loads(out.read_text())
    assert [round(12 * row["continuing"]) for row in facts["rows"]] == [0, 3, 5, 10, 12]
    for row in facts["rows"]:
        assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
        assert 0 < row["glue"] < 1
        assert row["deit_engine_ms"] > 0
    assert facts["agreement"] == {"toy cpu fp32": 1.0}
    # The bundle is there now; runtimes that are not are named, and fail where they were asked for.
    result = CliRunner().invoke(command, [*arguments, "--out", str(out)])
    absent = json.loads(out.read_text())["not_run"]
    assert result.exit_code == 0
    if "cuda" in absent:
        assert "not run: cuda" in result.output
        assert isinstance(CliRunner().invoke(command, [*arguments, "--runtime", "cuda"]).exception, BackendError)
