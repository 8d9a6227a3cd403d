"""One picture's answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the cascade says of one picture.

    stage: 1 if the EE engine's answer stood, 2 if the SAC engine's did. probabilities: [C] fp32 of that stage.
    stage_one_probability: the highest of stage 1, which the gate compared with eta. targets: [M] low-res indices, None
    after an exit. timing: seconds by step; a batch shares its engine calls equally. The steps are decode, preprocess,
    view (the half-size picture), ee, gate, gather (select, gather, compact), sac and answer (its softmax).
    """

    source: str
    labels: Sequence[str] = field(repr=False)
    stage: int
    probabilities: npt.NDArray[np.float32] = field(repr=False)
    stage_one_probability: float
    grid: int = field(repr=False)
    targets: npt.NDArray[np.int64] | None = field(repr=False)
    timing: Mapping[str, float] = field(repr=False)

    @property
    def index(self) -> int:
        """The most probable class; ties go to the lower index."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Its name."""
        return self.labels[self.index]

    @property
    def probability(self) -> float:
        """Its probability."""
        return float(self.probabilities[self.index])

    def topk(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes as (label, probability), best first; all of them if there are fewer."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]

    @property
    def target_mask(self) -> npt.NDArray[np.bool_] | None:
        """[g,g] bool, True where stage 2 looked at full resolution; None after an exit, when nothing was selected."""
        if self.targets is None:
            return None
        mask = np.zeros(self.grid * self.grid, dtype=bool)
        mask[self.targets] = True
        return mask.reshape(self.grid, self.grid)

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """The JSON form; targets are low-res token indices, row-major."""
        return {
            "source": self.source,
            "label": self.label,
            "index": self.index,
            "probability": round(self.probability, 6),
            "stage": self.stage,
            "stage_one_probability": round(self.stage_one_probability, 6),
            "topk": [{"label": label, "probability": round(p, 6)} for label, p in self.topk(k)],
            "targets": None if self.targets is None else self.targets.tolist(),
            "grid": self.grid,
            "timing_ms": {step: round(1000 * seconds, 3) for step, seconds in self.timing.items()},
        }
