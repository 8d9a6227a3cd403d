"""Smoothing moves outliers from activations into weights, and changes no answer of either stage."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from onnx import helper

from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.calibration.ranges import Maxima, channel_maxima
from sacvit_deploy.calibration.smooth import Factors, factors, fold, joint_maxima

from .making import ROLES, graph, plant_outliers, run, weights_of

SMOOTHED = {
    *(f"blocks.{n}.{name}" for n in (0, 1) for name in ("attn.qkv", "mlp.fc1")),
    "reuse_block.1.fc1",
}
NORMED = [
    helper.make_node("LayerNormalization", ["x", "scale", "shift"], ["normed"], axis=-1),
    helper.make_node("MatMul", ["normed", "layer.weight.T"], ["logits"]),
]
TENSORS = {
    "scale": np.linspace(0.5, 2, 8),
    "shift": np.linspace(-1, 1, 8),
    "layer.weight.T": np.random.default_rng(3).normal(size=(8, 5)),
}


@pytest.fixture(scope="module")
def planted(fp32: Mapping[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    """The engines with outliers in channels 7 and 30 behind every LayerNorm that a layer reads."""
    return {role: plant_outliers(fp32[role], 50) for role in ROLES}


@pytest.fixture(scope="module")
def maxima(planted: dict[str, onnx.ModelProto], calibration: CalibrationInputs) -> dict[str, Maxima]:
    """Largest values of the planted engines' channels, by role."""
    return {role: channel_maxima(planted[role], calibration.batches(role), 1) for role in ROLES}


@pytest.fixture(scope="module")
def chosen(planted: dict[str, onnx.ModelProto], maxima: dict[str, Maxima]) -> Factors:
    """Factors at the default strength."""
    return factors(planted, joint_maxima(maxima), 0.5)


@pytest.mark.parametrize("role", ROLES)
def test_the_same_factors_change_no_answer(
    planted: dict[str, onnx.ModelProto], chosen: Factors, calibration: CalibrationInputs, role: str
) -> None:
    assert set(chosen) == SMOOTHED
    folded = fold(planted[role], chosen)
    onnx.checker.check_model(folded, full_check=True)
    changed = {
        name
        for name, value in weights_of(folded).items()
        if name in weights_of(planted[role]) and not np.array_equal(value, weights_of(planted[role])[name])
    }
    here = {linear.layer for linear in linears(folded)} & SMOOTHED
    assert changed == {f"{layer}.weight.T" for layer in here}
    assert [node.op_type for node in folded.graph.node] == [node.op_type for node in planted[role].graph.node]
    for feed in calibration.batches(role):
        before, after = run(planted[role], feed), run(folded, feed)
        for name, value in before.items():
            np.testing.assert_allclose(after[name], value, rtol=1e-3, atol=1e-4 * np.abs(value).max())


def test_both_stages_still_share_every_weight(planted: dict[str, onnx.ModelProto], chosen: Factors) -> None:
    folded = {role: weights_of(fold(planted[role], chosen)) for role in ROLES}
    for linear in linears(planted["ee"]):
        for role in ("sac", "deit"):
            assert np.array_equal(folded["ee"][linear.weight], folded[role][linear.weight]), linear.layer


def test_planted_outliers_are_reduced(
    planted: dict[str, onnx.ModelProto], maxima: dict[str, Maxima], chosen: Factors, calibration: CalibrationInputs
) -> None:
    after = channel_maxima(fold(planted["sac"], chosen), calibration.batches("sac"), 1)
    for layer in SMOOTHED:
        before = maxima["sac"][layer]
        assert set(np.argsort(before)[-2:]) == {7, 30} and before.max() > 15 * np.median(before)
        assert after[layer].max() < 0.4 * before.max(), layer
        assert after[layer].max() / np.median(after[layer]) < before.max() / np.median(before) / 4
        np.testing.assert_allclose(after[layer], before / chosen[layer], rtol=1e-3)
    for layer in set(maxima["sac"]) - SMOOTHED:
        np.testing.assert_allclose(after[layer], maxima["sac"][layer], rtol=1e-3)


@pytest.mark.parametrize("strength", [0.3, 0.5, 1.0])
def test_factors_are_the_papers(
    planted: dict[str, onnx.ModelProto], maxima: dict[str, Maxima], strength: float
) -> None:
    smoothing = factors(planted, joint_maxima(maxima), strength)
    weights = weights_of(planted["ee"])
    for layer in ("blocks.0.attn.qkv", "blocks.1.mlp.fc1"):
        x = np.maximum.reduce([maxima[role][layer] for role in ROLES])
        w = np.abs(weights[f"{layer}.weight.T"]).max(axis=1)
        s = x**strength / w ** (1 - strength)
        np.testing.assert_allclose(smoothing[layer], s / np.exp(np.log(s).mean()), rtol=1e-4)


def test_no_strength_changes_nothing(planted: dict[str, onnx.ModelProto], maxima: dict[str, Maxima]) -> None:
    smoothing = factors(planted, joint_maxima(maxima), 0)
    assert smoothing == {}
    for role in ROLES:
        before, after = weights_of(planted[role]), weights_of(fold(planted[role], smoothing))
        used = {name for node in planted[role].graph.node for name in node.input}
        assert set(after) == set(before) & used
        assert all(np.array_equal(after[name], before[name]) for name in after)
        assert list(fold(planted[role], smoothing).graph.node) == list(planted[role].graph.node)


def test_a_norm_with_other_readers_is_left_alone() -> None:
    rows = {"layer": np.ones(8, np.float32), "second": np.ones(8, np.float32)}
    alone = graph(NORMED, TENSORS, width=8)
    assert set(factors({"ee": alone}, rows, 0.5)) == {"layer"}
    as_output = graph(NORMED, TENSORS, width=8, outputs=("logits", "normed"))
    assert factors({"ee": as_output}, rows, 0.5) == {}
    second = helper.make_node("MatMul", ["normed", "second.weight.T"], ["more"])
    both = graph([*NORMED, second], {**TENSORS, "second.weight.T": np.eye(8)}, width=8, outputs=("logits", "more"))
    assert factors({"ee": both}, rows, 0.5) == {}
    # Where one engine can't follow, the other must not: they share the weight.
    assert factors({"ee": alone, "sac": as_output}, rows, 0.5) == {}
    assert factors({"ee": as_output, "sac": alone}, rows, 0.5) == {}
    untouched = fold(as_output, {"layer": np.full(8, 2, np.float32)})
    assert weights_of(untouched).keys() == weights_of(as_output).keys()
    for name, value in weights_of(untouched).items():
        assert np.array_equal(value, weights_of(as_output)[name])


def test_the_head_of_stage_one_reads_a_norm_that_is_an_output(chosen: Factors) -> None:
    # In stage 2 the head alone reads its norm; smoothed there, it would no longer be stage 1's.
    assert "head" not in chosen


def test_a_layer_used_twice_is_scaled_once() -> None:
    model = graph(
        [
            *NORMED[:1],
            helper.make_node("MatMul", ["normed", "square.weight.T"], ["once"]),
            helper.make_node("LayerNormalization", ["once", "other_scale"], ["normed_again"], axis=-1),
            helper.make_node("MatMul", ["normed_again", "square.weight.T"], ["logits"]),
        ],
        {
            "scale": TENSORS["scale"],
            "shift": TENSORS["shift"],
            "other_scale": np.linspace(3, 1, 8),
            "square.weight.T": np.random.default_rng(4).normal(size=(8, 8)),
        },
        width=8,
    )
    feed = {"x": np.random.default_rng(5).normal(size=(6, 8)).astype(np.float32)}
    chosen = factors({"ee": model}, channel_maxima(model, [feed], 1), 0.5)
    assert set(chosen) == {"square"} and chosen["square"].std() > 0.1
    folded = fold(model, chosen)
    onnx.checker.check_model(folded)
    np.testing.assert_allclose(run(folded, feed)["logits"], run(model, feed)["logits"], rtol=1e-4, atol=1e-5)


def test_a_channel_that_is_always_zero() -> None:
    tensors = {
        **TENSORS,
        "scale": TENSORS["scale"].copy(),
        "shift": TENSORS["shift"].copy(),
        "layer.weight.T": TENSORS["layer.weight.T"].copy(),
    }
    tensors["scale"][2] = tensors["shift"][2] = 0
    tensors["layer.weight.T"][5] = 0
    model = graph(NORMED, tensors, width=8)
    feed = {"x": np.random.default_rng(6).normal(size=(6, 8)).astype(np.float32)}
    smoothing = factors({"ee": model}, channel_maxima(model, [feed], 1), 0.5)["layer"]
    assert np.isfinite(smoothing).all() and (smoothing > 0).all()
    after = run(fold(model, {"layer": smoothing}), feed)["logits"]
    np.testing.assert_allclose(after, run(model, feed)["logits"], rtol=1e-4, atol=1e-5)
