"""Exported baselines: the bundle's own weights, checked when they are found again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.baselines.store import FACTS, Baselines, find_baselines
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.errors import BundleError


def test_baselines_are_the_bundles_own_weights(baselines: Baselines) -> None:
    assert "own DeiT weights" in baselines.weights
    assert set(baselines.files) == {"weights", "sait", "sait_head", "sait_tail"}
    assert "4 blocks" in baselines.missing["stvit"]


def test_changed_baselines_are_refused(
    tiny_bundle: Path, baselines_folder: Path, baselines: Baselines, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(baselines_folder, tmp_path / "copy"))
    bundle = open_bundle(tiny_bundle)
    assert find_baselines(copy, bundle, "fp32") is not None
    path = copy / "fp32" / baselines.files["sait"].name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="was changed"):
        find_baselines(copy, bundle, "fp32")
    (copy / "fp32" / FACTS).write_text("{}")
    with pytest.raises(BundleError, match="can't be read"):
        find_baselines(copy, bundle, "fp32")
    assert find_baselines(tmp_path / "none", bundle, "fp32") is None
