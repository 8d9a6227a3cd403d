"""The precisions a bundle may hold a variant of; everything that depends on one reads it here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Precision:
    """Precision of a variant, and how it is made, judged and chosen.

    made_by: `export` traces a variant from converted weights (`export/modules.py`), `calibration` makes it from the
    bundle's fp32 variant. tolerance: largest logit error against the reference, over the largest logit.
    cpu, device: place among the choices of `auto`, the lowest first; `fast_with` are the CPU features, fastest first,
    with any of which it comes before all others on a CPU. gpu_layout: `export` also writes its engines laid out for a
    GPU (`export/gpu_layout.py`).
    """

    help: str
    made_by: Literal["export", "calibration"]
    tolerance: float
    cpu: int
    device: int
    fast_with: tuple[str, ...] = ()
    gpu_layout: bool = False


# fp16 keeps 11 bits, and a dozen blocks add up their roundings; x86 cores compute it slowly. int8's answers on noise
# say little, so its real judgement is the accuracy gate's.
PRECISIONS: dict[str, Precision] = {
    "fp32": Precision("Single precision; in every export.", "export", tolerance=1e-4, cpu=1, device=2),
    "fp16": Precision(
        "Also write a half-precision variant.", "export", tolerance=2e-2, cpu=3, device=1, gpu_layout=True
    ),
    "int8": Precision(
        "Also write an int8 variant; needs --calib.",
        "calibration",
        tolerance=0.25,
        cpu=2,
        device=3,
        fast_with=("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp"),  # dot products of bytes
    ),
}


def preferred(available: Collection[str], *, on_cpu: bool, features: Collection[str] = ()) -> tuple[str, str, str]:
    """Return the precision to take of those available, the one that would come first here, and the CPU feature for it.

    The feature is empty where none decided. Of nothing available, the first choice is returned.
    """

    def place(name: str) -> int:
        precision = PRECISIONS[name]
        if not on_cpu:
            return precision.device
        return 0 if set(precision.fast_with) & set(features) else precision.cpu

    order = sorted(PRECISIONS, key=place)
    deciding = [feature for feature in PRECISIONS[order[0]].fast_with if on_cpu and feature in features]
    chosen = next((name for name in order if name in available), order[0])
    return chosen, order[0], deciding[0] if deciding else ""
