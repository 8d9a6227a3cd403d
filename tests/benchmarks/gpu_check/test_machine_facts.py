"""The machine, and the card's name for the tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.machine_facts import CARD, measure
from sacvit_deploy.benchmarks.gpu_check.report_table import report
from sacvit_deploy.errors import BundleError


def test_the_card_and_the_bus(settings: Settings) -> None:
    rows = list(measure(settings))
    facts = {row["fact"]: row["value"] for row in rows}
    assert facts[CARD] == "CPU" and "ONNX Runtime" in str(facts["runtime"])
    assert float(facts["up from pinned memory, GB/s"] or 0) > 0
    text = report({"commands": ["the command"], "steps": {"facts": {"state": "done", "rows": rows}}})
    assert text.splitlines()[:2] == ["CPU", "  the command"]
    assert "labels: labels against fp32 on the CPU; not asked for" in text


def test_no_bundle(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        list(measure(dataclasses.replace(settings, speed=tmp_path)))
