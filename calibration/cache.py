"""Calibration results kept in the bundle, so that the same calibration is not run twice."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sacvit_deploy.calibration.smooth import Factors

# A flipped bit may also pose as an encrypted entry, or as a newer version of the zip format.
DAMAGED = (zipfile.BadZipFile, zlib.error, RuntimeError)


@dataclass(frozen=True)
class CalibrationResult:
    """Smoothing factors by layer, ranges by engine and layer, and each layer's sensitivity."""

    smoothing: Factors
    ranges: Mapping[str, Mapping[str, float]]
    sensitivity: Mapping[str, float]
    key: str  # of models, images and settings: a later run with the same key need not calibrate again


def save_cache(path: Path, result: CalibrationResult) -> None:
    """Write a calibration as .npz."""
    arrays = {
        "key": np.array(result.key),
        "roles": np.array(list(result.ranges)),
        "smoothed": np.array(list(result.smoothing), dtype=np.str_),
        "damage/layers": np.array(list(result.sensitivity)),
        "damage": np.array(list(result.sensitivity.values())),
    }
    for layer, value in result.smoothing.items():
        arrays[f"smoothing/{layer}"] = value
    for role, by_layer in result.ranges.items():
        arrays[f"layers/{role}"] = np.array(list(by_layer))
        arrays[f"ranges/{role}"] = np.array(list(by_layer.values()))
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]


def load_cache(path: Path, key: str) -> CalibrationResult | None:
    """Read what `save_cache` wrote with this key; None for no file, another key, or a damaged file."""
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data["key"]) != key:
                return None
            smoothing = {str(layer): data[f"smoothing/{layer}"] for layer in data["smoothed"]}
            ranges = {str(role): _pairs(data[f"layers/{role}"], data[f"ranges/{role}"]) for role in data["roles"]}
            return CalibrationResult(smoothing, ranges, _pairs(data["damage/layers"], data["damage"]), key)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, *DAMAGED):
        return None


def _pairs(names: object, values: object) -> dict[str, float]:
    return {str(name): float(value) for name, value in zip(names, values, strict=True)}  # type: ignore[call-overload]
