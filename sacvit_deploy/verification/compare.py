"""Compare a backend and precision with ONNX Runtime's fp32 on the CPU, image by image and tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

BATCH = 8


@dataclass
class BackendComparison:
    """Differences from the reference over a set of images.

    images: number compared. errors: by tensor, the largest absolute difference over the reference's largest value.
    overlap: share of the reference's targets that were selected. same_label, same_stage: share of images, at the
    bundle's eta. unreadable: number of images with an error on either side, which count nowhere else.
    """

    images: int
    errors: dict[str, float]
    overlap: float
    same_label: float
    same_stage: float
    unreadable: int

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        data = asdict(self)
        return {"pictures": data.pop("images"), **data}

    def summary(self) -> str:
        """Format as two lines."""
        errors = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        bad = f"; {self.unreadable} could not be read" if self.unreadable else ""
        return (
            f"against fp32 on the CPU, {self.images:,} images: same label {self.same_label:.2%}, same stage "
            f"{self.same_stage:.2%}, targets in common {self.overlap:.2%}{bad}\n    largest errors: {errors}"
        )


def compare_models(model: SACViT, reference: SACViT, sources: Sequence[ImageSource]) -> BackendComparison:
    """Run both models on images.

    Stage 2 is compared on the reference's targets, so that a swapped tie counts as no error of stage 2.
    """
    errors: dict[str, tuple[float, float]] = {}
    overlaps: list[float] = []
    pairs: list[tuple[Prediction, Prediction]] = []
    unreadable = 0
    for start in range(0, len(sources), BATCH):
        part = sources[start : start + BATCH]
        answers = zip(model.predict_batch(part), reference.predict_batch(part), strict=True)
        answered = [(a, b) for a, b in answers if isinstance(a, Prediction) and isinstance(b, Prediction)]
        unreadable += len(part) - len(answered)
        pairs += answered
        images = [item.pixels for item in map(reference.prepare, part) if item.pixels is not None]
        if images:
            overlaps += _stages(model, reference, images, errors)
    count = max(1, len(pairs))
    return BackendComparison(
        images=len(pairs),
        errors={name: float(worst / max(largest, 1e-30)) for name, (worst, largest) in errors.items()},
        overlap=float(np.mean(overlaps)) if overlaps else 0.0,
        same_label=sum(a.label == b.label for a, b in pairs) / count,
        same_stage=sum(a.stage == b.stage for a, b in pairs) / count,
        unreadable=unreadable,
    )


def _stages(
    model: SACViT, reference: SACViT, images: Sequence[Array], errors: dict[str, tuple[float, float]]
) -> list[float]:
    """Run both stages of both models on a batch; return each image's share of targets in common."""
    config, cascade = reference.config, reference.cascade
    count = config.num_targets()
    wanted = cascade.run_both(images, [count])
    targets = wanted.sac[0].targets
    actual = model.cascade.run_both(images, [targets])
    _note(errors, "ee", actual.ee, wanted.ee)
    _note(errors, "sac", {"logits": actual.sac[0].logits}, {"logits": wanted.sac[0].logits})
    selected = model.cascade.targets(np.nan_to_num(actual.ee["scores"]), count)
    return [float(np.isin(one, other).mean()) for one, other in zip(targets, selected, strict=True)]


def _note(
    errors: dict[str, tuple[float, float]], stage: str, actual: Mapping[str, Array], wanted: Mapping[str, Array]
) -> None:
    """Keep the largest difference and the largest reference value of each tensor."""
    for name, value in wanted.items():
        worst, largest = errors.get(f"{stage}.{name}", (0.0, 0.0))
        difference = np.abs(actual[name].astype(np.float32) - value).max()
        errors[f"{stage}.{name}"] = float(np.maximum(worst, difference)), max(largest, float(np.abs(value).max()))
