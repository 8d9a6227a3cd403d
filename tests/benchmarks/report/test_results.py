"""Reading results back, also damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.report.results import read_json
from sacvit_deploy.errors import UsageError

from .making import report, row


def test_results_that_were_damaged(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    whole = report(row("deit", "fp32", 1, 2), row("cascade", "fp32", 1, 2, gate=0.5))
    path.write_text(json.dumps(whole.to_dict()))
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
