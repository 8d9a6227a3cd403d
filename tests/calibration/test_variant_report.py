"""A variant compared with fp32, on answers made by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.calibration.variant_report import VariantReport, compare_variant, matching_eta, variant_table
from sacvit_deploy.errors import OutputError
from sacvit_deploy.evaluation.outputs import EvalOutputs, StageAnswers
from sacvit_deploy.evaluation.timing import EvalTimes
from sacvit_deploy.glue import continuing

LABELS = [0, 1, 2, 0, 1]


def stage(answers: Sequence[int], sure: Sequence[float]) -> StageAnswers:
    """Build logits of 3 classes whose softmax gives `answers` with the probabilities `sure`."""
    spread = np.repeat((1 - np.asarray(sure))[:, None] / 2, 3, axis=1)
    spread[np.arange(len(answers)), answers] = sure
    return StageAnswers(np.log(spread).astype(np.float32))


def outputs(
    ee: Sequence[int],
    sac: Sequence[int],
    sure: Sequence[float],
    *,
    labels: Sequence[int] = LABELS,
    rows: Sequence[int] | None = None,
    targets: Sequence[Sequence[int]] | None = None,
) -> EvalOutputs:
    """Build one variant's answers to images 0, 1, ... or `rows`; targets are 0 and 1 unless given."""
    chosen = np.arange(len(ee)) if rows is None else np.array(rows)
    return EvalOutputs(
        rows=chosen,
        labels=np.array(labels)[chosen],
        ee=stage(ee, sure),
        sac={0.5: stage(sac, [0.9] * len(sac))},
        targets={0.5: np.array([[0, 1]] * len(ee) if targets is None else targets)},
        times=EvalTimes([], 1),
        unreadable=(),
        overflowed=(),
    )


FP32 = outputs([0, 1, 2, 1, 1], [0, 1, 2, 0, 0], [0.95, 0.9, 0.7, 0.5, 0.45])


def report(
    variant: EvalOutputs, *, labelled: bool = True, reference: EvalOutputs = FP32, eta: float = 0.6
) -> VariantReport:
    return compare_variant("int8", variant, reference, 0.5, eta, labelled=labelled)


def test_fp32_against_itself() -> None:
    result = report(FP32)
    assert [share.right for share in result.top1.values()] == [4, 4, 4]
    assert (result.eta, result.exits, result.drop, result.gate_flips, result.target_overlap) == (
        0.6,
        0.6,
        0.0,
        0.0,
        1.0,
    )
    assert result.agreement == {"ee": 1.0, "sac": 1.0, "cascade": 1.0} and result.unanswered == 0


def test_a_worse_variant() -> None:
    # Stage 1 now errs on image 2, stage 2 on 0 and 3; all probabilities are lower, and so image 2 goes on.
    result = report(
        outputs(
            [0, 1, 0, 1, 1],
            [1, 1, 2, 2, 0],
            [0.85, 0.8, 0.58, 0.45, 0.4],
            targets=[[0, 1], [0, 2], [5, 9], [1, 0], [0, 1]],
        )
    )
    assert [share.right for share in result.top1.values()] == [3, 2, 2]
    assert result.drop == 100 * 2 / 5
    assert result.gate_flips == 1 / 5  # at fp32's eta of 0.6
    assert 0.45 <= result.eta < 0.58 and result.exits == 0.6  # at its own, three exit again
    assert result.agreement == {"ee": 4 / 5, "sac": 3 / 5, "cascade": 3 / 5}
    assert result.target_overlap == pytest.approx((1 + 0.5 + 0 + 1 + 1) / 5)


def test_drop_is_the_largest_loss_and_a_gain_is_none() -> None:
    better = outputs([0, 1, 2, 0, 1], [0, 1, 2, 0, 1], [0.95, 0.9, 0.7, 0.5, 0.45])
    assert report(better).drop == -20.0
    one_worse = outputs([0, 1, 2, 0, 1], [0, 1, 2, 1, 0], [0.95, 0.9, 0.7, 0.5, 0.45])
    assert report(one_worse).drop == 20.0
    # At eta, it answers with stage 1 where fp32 had gone on.
    cascade = outputs([0, 1, 2, 1, 1], [0, 1, 2, 0, 0], [0.95, 0.7, 0.5, 0.9, 0.45])
    result = report(cascade)
    assert all(result.top1[name] == report(FP32).top1[name] for name in ("ee", "sac"))
    assert result.drop == 20.0 and result.gate_flips == 2 / 5


def test_a_loss_that_meets_the_limit_does_not_exceed_it() -> None:
    many = np.zeros(200, int)
    reference = outputs(np.where(np.arange(200) < 58, 1, 0).tolist(), many.tolist(), [0.9] * 200, labels=many.tolist())
    variant = outputs(np.where(np.arange(200) < 59, 1, 0).tolist(), many.tolist(), [0.9] * 200, labels=many.tolist())
    assert 100 * (142 / 200 - 141 / 200) > 0.5  # as a difference of shares
    assert report(variant, reference=reference).drop == 0.5


def test_without_labels() -> None:
    result = report(outputs([0, 1, 0, 1, 1], [1, 1, 2, 2, 0], [0.9] * 5), labelled=False)
    assert (result.top1, result.drop) == ({}, None)
    assert (result.agreement["ee"], result.agreement["sac"]) == (4 / 5, 3 / 5)
    facts = result.to_dict()
    assert facts["top1"] is None and facts["drop"] is None and facts["agreement"]["ee"] == 4 / 5
    text = variant_table([report(FP32, labelled=False), result], "5 images")
    assert text.count("no labels") == 6 and "80.00%" in text and "largest loss" not in text


def test_images_that_the_variant_can_not_answer_are_wrong() -> None:
    result = report(outputs([0, 1, 2], [0, 1, 2], [0.95, 0.9, 0.7], rows=[0, 1, 2]))
    assert result.unanswered == 2
    assert [(share.right, share.count) for share in result.top1.values()] == [(3, 5)] * 3
    assert result.drop == 20.0 and (result.agreement["ee"], result.agreement["sac"]) == (0.6, 0.6)
    assert "no finite answer on 2 images" in variant_table([report(FP32), result], "5 images")
    # LabelledImages that fp32 could not answer are nobody's.
    part = outputs([0, 1, 2], [0, 1, 2], [0.95, 0.9, 0.7], rows=[0, 1, 2])
    assert report(FP32, reference=part).unanswered == 0 and report(FP32, reference=part).drop == 0
    with pytest.raises(OutputError, match="int8 gives no finite answer on any image"):
        report(outputs([0, 1], [0, 1], [0.9, 0.9], rows=[3, 4]), reference=part)


def test_rows_are_matched_by_image() -> None:
    turned = [4, 2, 0, 3, 1]
    result = report(outputs([1, 2, 0, 1, 1], [0, 2, 0, 0, 1], [0.45, 0.7, 0.95, 0.5, 0.9], rows=turned))
    assert (result.agreement["ee"], result.agreement["sac"], result.drop, result.gate_flips) == (1.0, 1.0, 0.0, 0.0)


def test_the_manifests_form_is_json() -> None:
    facts = json.loads(json.dumps(report(FP32).to_dict(), allow_nan=False))
    assert facts["top1"]["ee"]["right"] == 4 and facts["gate_flips"] == 0 and facts["target_overlap"] == 1
    assert {"eta", "exits", "agreement", "drop", "unanswered"} < set(facts)


def test_the_table_shows_differences_in_points() -> None:
    result = report(outputs([0, 1, 0, 1, 1], [0, 1, 2, 0, 0], [0.95, 0.9, 0.7, 0.5, 0.45]))
    lines = variant_table([report(FP32), result], "5 images of mine").splitlines()
    assert lines[0] == "judged on 5 images of mine"
    assert "80.00" in lines[3] and "(" not in lines[3].replace("(0.6)", "")
    assert "60.00 (-20.00)" in lines[4] and "80.00 (+0.00)" in lines[4]
    assert lines[5] == "  int8: largest loss 20.00 points"


def exits(confidence: Any, eta: float) -> int:
    return int((~continuing(np.stack([confidence, 0 * confidence], axis=1), eta)).sum())


CONFIDENCE = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=60).map(np.array)


@given(CONFIDENCE, st.data(), st.floats(0, 1))
def test_as_many_exit_as_asked_for(confidence: Any, data: st.DataObject, near: float) -> None:
    asked = data.draw(st.integers(0, len(confidence)))
    eta = matching_eta(confidence, asked, near)
    assert 0 <= eta <= 1
    possible = {exits(confidence, float(value)) for value in (0.0, 1.0, *confidence)}
    got = exits(confidence, eta)
    assert abs(got - asked) == min(abs(count - asked) for count in possible)
    if len(np.unique(confidence)) == len(confidence) and (confidence < 1).all():
        assert got == asked  # no ties


@given(CONFIDENCE, st.floats(0, 1))
def test_an_eta_that_does_is_kept(confidence: Any, near: float) -> None:
    assert matching_eta(confidence, exits(confidence, near), near) == near


def test_a_image_in_a_thousand_is_no_reason_for_another_eta() -> None:
    confidence = np.linspace(0.2, 0.9, 2000)
    asked = exits(confidence, 0.6)
    assert matching_eta(confidence, asked + 2, 0.6) == 0.6
    assert exits(confidence, matching_eta(confidence, asked + 3, 0.6)) == asked + 3


@given(st.lists(st.floats(0.11, 0.89), min_size=1, max_size=60).map(np.array))
def test_the_gate_is_not_given_up_where_all_exit(confidence: Any) -> None:
    assert matching_eta(confidence, len(confidence), 0.99) >= confidence.min() - 0.0011
    assert matching_eta(confidence, 0, 0.05) <= confidence.max() + 0.0011
