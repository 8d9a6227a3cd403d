"""Start-up in fresh processes: what a bench measured, and a probe that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.startup.probe import peak_mb
from sacvit_deploy.benchmarks.startup.process import ProbeRequest, run_probe
from sacvit_deploy.errors import BackendError
from tests.benchmarks.conftest import Benched


def test_processes(benched: Benched) -> None:
    found = {(one["contender"], one["precision"]): one for one in benched.data["processes"]}
    names = ("cascade, exits", "cascade, continues", "deit", "sait")
    assert set(found) == {(name, "fp32") for name in names}
    for one in found.values():
        assert one["seconds"]["median"] > (one["open_ms"]["median"] + one["first_ms"]["median"]) / 1000
        assert one["peak_mb"] is None or 20 < one["peak_mb"] < 2000


def test_a_probe_that_fails_names_its_contender_and_its_last_words(tmp_path: Path) -> None:
    opening = {"backend": "onnxruntime", "device": None, "threads": 1}
    request = ProbeRequest(tmp_path / "none.sacvit", tmp_path / "none.png", opening, "fp32", "cascade, exits", eta=0.0)
    with pytest.raises(BackendError, match=r"the process of cascade, exits in fp32 failed: .*none\.sacvit"):
        run_probe(request)


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_mb()
    if before is None:
        pytest.skip("this system does not report it")
    held = bytearray(64 << 20)
    held[::4096] = bytes([1]) * len(held[::4096])
    after = peak_mb()
    assert after is not None
    assert after >= before
    assert after > 64
