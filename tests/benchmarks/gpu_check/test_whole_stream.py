"""A whole stream, decoding included, beside its parts."""

from __future__ import annotations

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.whole_stream import measure


def test_what_is_included_is_said(settings: Settings) -> None:
    files, arrays, decoding = measure(settings)
    assert files["included"] == "JPEGs of 640x480: read, decoded, resized, both stages"
    assert "arrays" in str(arrays["included"]) and "no stage" in str(decoding["included"])
    for row in (files, arrays):
        assert row["continuing"] == round(0.23 * settings.images) / settings.images
    assert decoding["continuing"] is None
    for row in (files, arrays, decoding):
        assert float(row["images/s"] or 0) > 0
        assert (row["batch"], row["threads"]) == (settings.batches[0], settings.workers)
