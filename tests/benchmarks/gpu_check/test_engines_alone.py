"""Every engine is called with what it accepts, and timed on the device and on the host."""

from __future__ import annotations

import dataclasses

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.engines_alone import measure


def test_every_engine_at_every_batch(settings: Settings) -> None:
    rows = list(measure(dataclasses.replace(settings, batches=(8, 1))))
    names = ("ee", "sac", "view", "gather", "deit", "whole")
    assert [(row["batch"], row["engine"]) for row in rows] == [(batch, name) for batch in (8, 1) for name in names]
    for row in rows:
        assert row["rows"] == (
            max(1, round(0.23 * int(row["batch"] or 0))) if row["engine"] == "gather" else row["batch"]
        )
        # On the CPU a call is done when it is queued.
        assert 0 < float(row["queued in ms"] or 0) <= float(row["device ms"] or 0)
