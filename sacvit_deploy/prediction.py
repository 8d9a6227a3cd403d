"""The answer for one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sacvit_deploy.confidence import softmax


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Answer of the cascade for one image.

    stage: 1 if the image exited with the EE engine's answer, 2 if the SAC engine answered. probabilities: [C] fp32 of
    that stage, computed when they are first read. stage_one_probability: stage 1's highest, which the gate compared
    with eta. targets: [M] low-res indices, None after an exit. timing: seconds by step, those of a batch divided
    equally among its images. The steps are decode, preprocess, view (the half-size image), ee, gate, gather (select,
    gather, compact), sac and answer (stage 2's highest probability); remote, where stage 2 ran elsewhere. position: the
    image's number in the source or batch, from 0. fallback: why stage 2, where the image should have gone, gave no
    answer; None unless stage 1's stands in for it.
    """

    source: str
    labels: Sequence[str]
    stage: int
    probabilities: npt.NDArray[np.float32]
    stage_one_probability: float
    grid: int
    targets: npt.NDArray[np.int64] | None
    timing: Mapping[str, float]
    position: int = 0
    fallback: str | None = None

    @classmethod
    def from_logits(cls, logits: npt.NDArray[np.float32], index: int, probability: float, **fields: Any) -> Prediction:
        """Make a prediction whose probabilities are the softmax of `logits` [C], taken when somebody reads them.

        index, probability: the most probable class, known already. fields: all others.
        """
        prediction = cls.__new__(cls)
        # As many images as a GPU classifies, a field at a time would cost more than the rest of an answer.
        prediction.__dict__.update(fields, _logits=logits, _top=(index, probability))
        return prediction

    if not TYPE_CHECKING:  # or any name would be an attribute

        def __getattr__(self, name: str) -> Any:
            """Compute the probabilities at their first use; called for what is not there."""
            values = self.__dict__
            if name == "probabilities" and (logits := values.get("_logits")) is not None:
                values.setdefault(name, softmax(logits).astype(np.float32))
                values.pop("_logits", None)
            if name == "probabilities" and name in values:  # or another thread was first
                return values[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return (
            f"Prediction(source={self.source!r}, label={self.label!r}, probability={self.probability:.3f}, "
            f"stage={self.stage})"
        )

    @property
    def index(self) -> int:
        """Index of the most probable class; ties go to the lower one."""
        return self._top[0]

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.labels[self.index]

    @property
    def probability(self) -> float:
        """Probability of the most probable class, on a GPU as the GPU computed it."""
        return self._top[1]

    @cached_property
    def _top(self) -> tuple[int, float]:
        """The most probable class and its probability."""
        index = int(self.probabilities.argmax())
        return index, float(self.probabilities[index])

    def topk(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the k most probable classes as (label, probability), best first; all classes if there are fewer."""
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]

    @property
    def target_mask(self) -> npt.NDArray[np.bool_] | None:
        """Mask [g,g], True where stage 2 saw full resolution; None after an exit, when nothing was selected."""
        if self.targets is None:
            return None
        mask = np.zeros(self.grid * self.grid, dtype=bool)
        mask[self.targets] = True
        return mask.reshape(self.grid, self.grid)

    def to_dict(self, k: int = 5) -> dict[str, Any]:
        """Return the JSON form with the k most probable classes; targets are low-res token indices, row-major."""
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
            **({} if self.fallback is None else {"fallback": self.fallback}),
        }
