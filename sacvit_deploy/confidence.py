"""From logits to probabilities: softmax, the highest of them, the most probable class."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array

NEAR = 1e-4  # a device's confidence is nearer to the exact one: fp32, sums of some thousand terms
HALF = 0.5 + NEAR
CLOSE = 2.0**-22  # logits that differ by half of that are the same probability in fp32


class StageAnswers(NamedTuple):
    """A stage's answers for B images: logits [B,C] fp32, and its confidence [B,2] fp32 where the engine gives it.

    The confidence is the highest probability and the sum of the logits, which is finite where they all are. The arrays
    may be used again for later batches.
    """

    logits: Array
    confidence: Array | None = None


def softmax(logits: Array) -> npt.NDArray[np.float64]:
    """Turn finite logits [...,C] into probabilities [...,C] fp64."""
    # In place: with a thousand classes, fresh memory at every step costs more than the arithmetic.
    values = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float64)
    np.exp(values, out=values)
    values /= values.sum(axis=-1, keepdims=True)
    return np.asarray(values)


def classify(answers: StageAnswers, etas: Sequence[float] = ()) -> list[float]:
    """Return the highest probability of each of B images, NaN where a logit is not finite.

    A device's own confidence is taken as it is, but where it is within NEAR of the image's eta: there, as where there
    is none, the host computes it from the logits, in fp64. So the gate, `> eta`, decides the same whoever computed the
    confidence. etas: [B]; none where there is no gate.
    """
    if answers.confidence is None:
        return _highest(answers.logits)
    found = []
    for row, (probability, total) in enumerate(answers.confidence.tolist()):
        if etas and abs(probability - etas[row]) <= NEAR:
            probability = _highest(answers.logits[row : row + 1])[0]
        # A sum of finite logits is finite; times zero, it changes nothing, and makes NaN of all others.
        found.append(probability + 0.0 * total)
    return found


def _highest(logits: Array) -> list[float]:
    """Return the highest probability of each row of logits [B,C] in fp64, NaN where a logit is not finite."""
    whole = np.isfinite(logits).all()  # as nearly always
    values = logits if whole else np.where(finite_rows(logits)[:, None], logits, 0)
    # The highest logit's own part of the softmax, whose numerator is exp(0).
    exponentials = np.subtract(values, values.max(axis=-1, keepdims=True), dtype=np.float64)
    np.exp(exponentials, out=exponentials)
    highest = 1.0 / exponentials.sum(axis=-1)
    found: list[float] = (highest if whole else np.where(finite_rows(logits), highest, np.nan)).tolist()
    return found


def most_probable(logits: Array, highest: Sequence[float], rows: Iterable[int]) -> list[int]:
    """Return the class of each of B images [B,C] as `softmax`, rounded to fp32, has it: of equal ones the first.

    highest: as `classify` returns it. rows: those that are asked for; of others it may be the class next to it.
    """
    index = logits.argmax(axis=1)
    # Above one half there is no equal; below, logits are told apart here that are the same probability in fp32.
    unsure = [row for row in rows if not highest[row] > HALF]
    if unsure:
        part = logits[unsure]
        close = np.count_nonzero(part >= part.max(axis=1, keepdims=True) - CLOSE, axis=1) > 1
        for row in itertools.compress(unsure, close):
            index[row] = softmax(logits[row]).astype(np.float32).argmax()
    classes: list[int] = index.tolist()
    return classes


def finite_rows(*arrays: Array) -> npt.NDArray[np.bool_]:
    """[B,...] arrays -> [B]: True where every value of the row is finite in all arrays."""
    rows = [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in arrays]
    return np.asarray(np.logical_and.reduce(rows))
