"""Layers stay in fp32 until the budget is met, or the command fails and the bundle is as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.errors import ExportError

from .making import ROLES, calibrate, layer_names, plant_in_bundle, snapshot

ROUGH = ("--smoothing", 0, "--ranges", "minmax")  # the plainest calibration there is


@pytest.fixture
def planted(bundle_copy: Path, rehash: Callable[[Path], None]) -> Path:
    """The bundle with outlier channels, a hundred times as large as the others, in every LayerNorm."""
    plant_in_bundle(bundle_copy, 100)
    rehash(bundle_copy)
    return bundle_copy


def report(bundle: Path) -> dict[str, Any]:
    return dict(open_bundle(bundle).variant("int8").report)


def kept(bundle: Path) -> set[str]:
    return set(report(bundle)["calibration"]["kept_in_fp32"])


def test_layers_are_kept_until_the_budget_is_met(planted: Path, eval_set: Path, slopes: Path) -> None:
    options = ("--calib", eval_set, "--judge", slopes, "--pictures", 32, *ROUGH, "--max-drop")
    # Whatever points it may lose, the answers on the golden images must be the reference's.
    output = calibrate(planted, *options, 100)
    first, drop = kept(planted), report(planted)["drop"]
    assert "int8 is too far from the reference" in output and 1 <= len(first) < 12 and drop > 4
    damage = report(planted)["calibration"]["damage"]
    assert first == set(list(damage)[: len(first)])
    output = calibrate(planted, *options, drop / 2)
    assert (
        f"int8 loses {drop:.2f} points; keeping {min(2 * len(first), 6)} layers in fp32" in output
    )  # no more than half
    assert first < kept(planted) < set(damage)
    assert report(planted)["drop"] <= drop / 2
    # What the manifest says is what was built.
    for role in ROLES:
        model = onnx.load(str(planted / f"{role}.int8.onnx"))
        assert {linear.layer for linear in linears(model)} == kept(planted) & set(
            layer_names({role: onnx.load(str(planted / f"{role}.fp32.onnx"))})
        )


def test_smoothing_needs_none_of_it(planted: Path, eval_set: Path) -> None:
    calibrate(planted, "--calib", eval_set, "--pictures", 32, *ROUGH, "--max-drop", 100)
    rough = report(planted)
    output = calibrate(planted, "--calib", eval_set, "--pictures", 32, "--max-drop", 100)
    smooth = report(planted)
    assert "5 layers smoothed" in output and smooth["calibration"]["kept_in_fp32"] == []
    worst = max(rough["calibration"]["damage"].values())
    assert max(smooth["calibration"]["damage"].values()) < worst / 20
    assert smooth["agreement"]["ee"] >= 0.9 and smooth["agreement"]["sac"] >= 0.9


@pytest.mark.parametrize("rough", [True, False])
def test_a_drop_that_can_not_be_avoided_leaves_the_old_bundle(
    planted: Path, border: Path, pictures: Path, rough: bool
) -> None:
    calibrate(planted, "--calib", pictures)  # with an int8 variant that must stay
    before = snapshot(planted)
    with pytest.raises(ExportError, match=r"int8 loses .* points even with 6 of 12 layers in fp32"):
        calibrate(planted, "--calib", border, "--max-drop", 0, *(ROUGH if rough else ()))
    assert snapshot(planted) == before
    assert [path.name for path in planted.parent.iterdir()] == [planted.name]


def test_the_command_fails_with_one_line(command: Any, bundle_copy: Path, border: Path) -> None:
    before = snapshot(bundle_copy)
    done = command("sacvit", "calibrate", bundle_copy, "--calib", border, "--max-drop", 0, expect=1, forbid=("torch",))
    assert done.stderr.startswith("Error: int8 loses ") and done.stderr.count("\n") == 1
    assert snapshot(bundle_copy) == before
    assert "wrote" not in done.stdout and "judged on" not in done.stdout


def test_without_labels_the_golden_answers_decide(planted: Path, pictures: Path) -> None:
    output = calibrate(planted, "--calib", pictures, *ROUGH)
    assert "int8 is too far from the reference" in output and kept(planted)
    assert open_bundle(planted).variant("int8").parity["largest_error"] < 0.25
    assert "points" not in output.replace("points of", "")
