"""JPEGs decoded both ways: with nvImageCodec on the processor, pixels and labels are Pillow's."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.jpeg_decoding import measure
from sacvit_deploy.errors import BackendError


def test_rates_differences_and_labels(settings: Settings, pictures: Path) -> None:
    pytest.importorskip(
        "nvidia.nvimgcodec", reason="NOT TESTED: decoding by nvImageCodec; install nvidia-nvimgcodec-cu13"
    )
    pillow, other, host, *kinds, found = measure(dataclasses.replace(settings, pictures=pictures))
    assert [row["by"] for row in (pillow, other, host)] == ["Pillow", "nvImageCodec", "the host's part alone"]
    for row in (pillow, other, host):
        assert float(row["images/s"] or 0) > 0 and float(row["cpu us"] or 0) > 0
    assert [row["images"] for row in kinds] == [
        "ordinary", "turned", "progressive", "4:4:4", "4:2:2", "restarts", "grey",
    ]  # fmt: skip
    for row in (*kinds, found):
        assert row["on the device"] == row["count"] and row["most off"] == 0 and row["equal bytes"] == 1.0
    assert found["labels equal"] == 7


def test_without_the_library_or_on_another_device_it_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendError, match="NVIDIA GPUs alone"):
        list(measure(dataclasses.replace(settings, device="webgpu")))
    for name in [name for name in sys.modules if name.partition(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(BackendError, match="pip install"):
        list(measure(settings))
