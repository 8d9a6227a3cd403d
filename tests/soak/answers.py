"""What each bundle answers for each input, and which bundle an answer is of."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.arrays import Array
from sacvit_deploy.errors import ImageError, SacvitError

TOLERANCE = 2e-3  # of a probability: kernels for other batch sizes, and threads, move the last digits


class WrongAnswer(Exception):
    """An answer of neither bundle, or an answer where an error is right, or the reverse."""


@dataclass(frozen=True)
class Right:
    """One bundle's answer: its labels' first name, the stage and the probabilities [C]. None: an ImageError."""

    label: str
    stage: int
    probabilities: Array


Table = dict[str, "Right | None"]


def answer_table(model: SACViT, sources: Iterable[Path]) -> Table:
    """Ask for each input alone."""
    table: Table = {}
    for source in sources:
        answer = model.predict_batch([source])[0]
        if isinstance(answer, SacvitError) and not isinstance(answer, ImageError):
            raise answer
        table[str(source)] = None if isinstance(answer, SacvitError) else _right(answer)
    return table


def whose(tables: dict[str, Table], source: Path, answer: Prediction | SacvitError) -> str:
    """Return the name of the bundle that gives this answer; "error" for an expected ImageError. Raises WrongAnswer."""
    if isinstance(answer, SacvitError):
        if isinstance(answer, ImageError) and all(table[str(source)] is None for table in tables.values()):
            return "error"
        raise WrongAnswer(f"{source.name}: {type(answer).__name__}: {answer}")
    got = _right(answer)
    for name, table in tables.items():
        right = table[str(source)]
        if right is not None and _same(got, right):
            return name
    raise WrongAnswer(f"{source.name}: {answer.label} {answer.probability:.4f} in stage {answer.stage} is nobody's")


def told_apart(tables: dict[str, Table]) -> float:
    """Return the share of the pictures for which no two bundles give the same answer."""
    first, second = tables.values()
    pairs = [(a, second[source]) for source, a in first.items() if a is not None]
    return sum(b is not None and not _same(a, b) for a, b in pairs) / len(pairs)


def _right(answer: Prediction) -> Right:
    return Right(answer.labels[0], answer.stage, answer.probabilities)


def _same(a: Right, b: Right) -> bool:
    if a.label != b.label or a.stage != b.stage:
        return False
    return bool(np.abs(a.probabilities - b.probabilities).max() <= TOLERANCE)
