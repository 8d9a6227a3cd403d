"""The highest probability and its class, from the logits and from a device; what makes a gate decide the same."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sacvit_deploy.arrays import Array
from sacvit_deploy.confidence import NEAR, StageAnswers, classify, most_probable, softmax
from sacvit_deploy.prediction import Prediction

RNG = np.random.default_rng(0)
LOGITS = hnp.arrays(np.float32, (4, 5), elements=st.floats(-2, 2, width=32))


def confidence_of(logits: Array, off: float = 0.0) -> Array:
    """What a device says of finite logits, off by some of what it may be."""
    highest = softmax(logits).max(axis=1) + off
    return np.stack([highest, logits.sum(axis=1)], axis=1).astype(np.float32)


@given(LOGITS)
def test_the_hosts_own_are_those_of_the_softmax_to_the_last_bit(logits: Array) -> None:
    probabilities = softmax(logits)
    highest = classify(StageAnswers(logits))
    assert highest == probabilities.max(axis=1).tolist()
    expected = probabilities.astype(np.float32).argmax(axis=1).tolist()
    assert most_probable(logits, highest, range(len(logits))) == expected


def test_of_logits_too_close_for_fp32_the_first_is_the_class() -> None:
    logits = np.zeros((3, 4), np.float32)
    logits[:, 2] = (1e-9, 1e-3, np.inf)
    highest = classify(StageAnswers(logits))
    assert most_probable(logits, highest, range(3))[:2] == [0, 2]
    assert np.isnan(highest[2])
    assert most_probable(logits, highest, []) == logits.argmax(axis=1).tolist()  # nobody asked


@pytest.mark.parametrize("off", [-0.9 * NEAR, 0.9 * NEAR])
def test_the_gate_decides_the_same_from_a_devices_confidence(off: float) -> None:
    """Whatever eta is, and however near."""
    logits = 3 * RNG.standard_normal((64, 10)).astype(np.float32)
    exact = classify(StageAnswers(logits))
    near = [probability + step for probability in exact for step in (-1e-9, 0.0, 1e-9)]
    for eta in (0.0, 0.25, 1.0, *np.clip(near, 0, 1).tolist()):
        found = classify(StageAnswers(logits, confidence_of(logits, off)), [eta] * 64)
        assert [probability > eta for probability in found] == [probability > eta for probability in exact]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("given", [False, True])
def test_a_row_that_is_not_finite_is_nobodys(bad: float, given: bool) -> None:
    logits = RNG.standard_normal((3, 6)).astype(np.float32)
    whole = classify(StageAnswers(logits))
    logits[1, 4] = bad
    with np.errstate(invalid="ignore"):
        confidence = confidence_of(logits) if given else None
    if confidence is not None and bad == -np.inf:
        assert np.isfinite(confidence[1, 0])  # only the sum tells
    found = classify(StageAnswers(logits, confidence), [0.5] * 3)
    assert np.isnan(found[1]) and found[::2] == pytest.approx(whole[::2], abs=1e-6)


# --- an answer that computes its probabilities when they are read


def answer() -> tuple[Prediction, Array]:
    logits = RNG.standard_normal(7).astype(np.float32)
    probabilities = softmax(logits).astype(np.float32)
    best = int(probabilities.argmax())
    labels = [str(number) for number in range(7)]
    fields = {"source": "a", "labels": labels, "stage": 1, "stage_one_probability": 0.5, "grid": 7, "targets": None}
    return Prediction.from_logits(logits, best, float(probabilities[best]), timing={}, **fields), probabilities


def test_probabilities_are_computed_when_they_are_read() -> None:
    late, expected = answer()
    assert (late.index, late.label) == (expected.argmax(), str(expected.argmax()))
    assert late.probability == expected.max() and "probabilities" not in vars(late)
    np.testing.assert_array_equal(late.probabilities, expected)
    assert late.probabilities is late.probabilities and "_logits" not in vars(late)
    assert late.topk(1) == [(late.label, late.probability)]


@pytest.mark.parametrize("read", [False, True])
def test_copies_have_them_too(read: bool) -> None:
    late, expected = answer()
    if read:
        assert late.probabilities.shape == (7,)
    others = [pickle.loads(pickle.dumps(late)), copy.copy(late), copy.deepcopy(late)]
    others.append(dataclasses.replace(late, source="b"))
    for other in others:
        np.testing.assert_array_equal(other.probabilities, expected)
        assert (other.index, other.probability, other.stage) == (late.index, late.probability, 1)


def test_other_names_are_not_there() -> None:
    late, _ = answer()
    with pytest.raises(AttributeError, match="'Prediction' object has no attribute 'logits'"):
        _ = late.logits  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError):
        late.stage = 2  # type: ignore[misc]
