"""A backend and precision against ONNX Runtime's fp32 on the processor, picture by picture and tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

BATCH = 8


@dataclass
class Comparison:
    """errors: by tensor, the largest absolute difference over the reference's largest value, over all pictures.

    overlap: share of the reference's targets that were selected; agreement: share of pictures with the same answer, and
    with the same stage, at the bundle's eta; unreadable: pictures that gave an error on both sides, and count nowhere.
    """

    pictures: int
    errors: dict[str, float]
    overlap: float
    same_label: float
    same_stage: float
    unreadable: int

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def summary(self) -> str:
        """Two lines for people."""
        errors = ", ".join(f"{name} {error:.1e}" for name, error in self.errors.items())
        bad = f"; {self.unreadable} could not be read" if self.unreadable else ""
        return (
            f"against fp32 on the CPU, {self.pictures:,} pictures: same label {self.same_label:.2%}, same stage "
            f"{self.same_stage:.2%}, targets in common {self.overlap:.2%}{bad}\n    largest errors: {errors}"
        )


def compare(
    model: SACViT, reference: SACViT, sources: Sequence[ImageSource], advance: Callable[[int], object] = lambda _: None
) -> Comparison:
    """Run both on pictures; stage 2 is compared on the reference's targets, so that a swapped tie is no error of it."""
    errors: dict[str, tuple[float, float]] = {}
    overlaps: list[float] = []
    pairs: list[tuple[Prediction, Prediction]] = []
    unreadable = 0
    for start in range(0, len(sources), BATCH):
        part = sources[start : start + BATCH]
        answers = zip(model.predict_batch(part), reference.predict_batch(part), strict=True)
        both = [(one, other) for one, other in answers if isinstance(one, Prediction) and isinstance(other, Prediction)]
        unreadable += len(part) - len(both)
        pairs += both
        images = [item.pixels for item in map(reference.prepare, part) if item.pixels is not None]
        if images:
            overlaps += _stages(model, reference, images, errors)
        advance(len(part))
    count = max(1, len(pairs))
    return Comparison(
        pictures=len(pairs),
        errors={name: float(worst / max(largest, 1e-30)) for name, (worst, largest) in errors.items()},
        overlap=float(np.mean(overlaps)) if overlaps else 0.0,
        same_label=sum(one.label == other.label for one, other in pairs) / count,
        same_stage=sum(one.stage == other.stage for one, other in pairs) / count,
        unreadable=unreadable,
    )


def _stages(
    model: SACViT, reference: SACViT, images: Sequence[Array], errors: dict[str, tuple[float, float]]
) -> list[float]:
    """Both stages of both models on a batch; returns each picture's share of targets in common."""
    config, cascade = reference.config, reference.cascade
    method = config.method
    count = num_targets(method.alpha, config.geometry.tokens, method.rounding)
    wanted = cascade.run_both(images, [count])
    targets = wanted.sac[0].targets
    actual = model.cascade.run_both(images, [targets])
    _note(errors, "ee", actual.ee, wanted.ee)
    _note(errors, "sac", {"logits": actual.sac[0].logits}, {"logits": wanted.sac[0].logits})
    selected = model.cascade.targets(np.nan_to_num(actual.ee["scores"]), count)
    return [float(np.isin(one, other).mean()) for one, other in zip(targets, selected, strict=True)]


def _note(
    errors: dict[str, tuple[float, float]], stage: str, found: Mapping[str, Array], wanted: Mapping[str, Array]
) -> None:
    """Keep the largest difference and the largest value of each tensor."""
    for name, value in wanted.items():
        worst, largest = errors.get(f"{stage}.{name}", (0.0, 0.0))
        difference = np.abs(found[name].astype(np.float32) - value).max()
        errors[f"{stage}.{name}"] = float(np.maximum(worst, difference)), max(largest, float(np.abs(value).max()))


def compare_bundle(
    bundle: Path,
    backend: str,
    provider: str | None,
    precision: str,
    sources: Sequence[ImageSource],
    threads: int | None,
) -> Comparison:
    """Open both sides and compare."""
    model = SACViT(bundle, backend=backend, provider=provider, precision=precision, threads=threads)
    reference = SACViT(bundle, backend="onnxruntime", provider="cpu", precision="fp32", threads=threads)
    return compare(model, reference, sources)
