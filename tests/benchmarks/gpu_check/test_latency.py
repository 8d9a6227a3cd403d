"""One image at a time."""

from __future__ import annotations

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.latency import measure


def test_an_exit_a_continuing_image_and_the_deit(settings: Settings) -> None:
    rows = list(measure(settings))
    assert [row["image"] for row in rows] == ["exits", "continues", "deit"]
    for row in rows:
        assert int(row["calls"] or 0) >= 20
        assert 0 < float(row["p50 ms"] or 0) <= float(row["p99 ms"] or 0)
