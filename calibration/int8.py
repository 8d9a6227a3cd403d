"""The int8 variant of a bundle: ranges, smoothed weights, and engines that share the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from sacvit_deploy.bundle.bundle import describe_file
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.calibration.cache import load_cache, save_cache
from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs, with_progress
from sacvit_deploy.calibration.linears import Models, linears
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import BINS, PERCENTILE, Range, channel_maxima, tensor_ranges
from sacvit_deploy.calibration.sensitivity import layer_sensitivity
from sacvit_deploy.calibration.smooth import Factors, factors, fold, joint_maxima
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, STAGES
from sacvit_deploy.verification.golden import Golden
from sacvit_deploy.verification.parity import Parity, measure_parity

PRECISION = "int8"
RANGES_FILE = "ranges.int8.npz"
SENSITIVITY_IMAGES = 16  # one batch, which goes through the engine once for every layer
GOLDEN_BATCHES = (1, 2)


@dataclass(frozen=True)
class CalibrationSettings:
    """Settings that decide the ranges. eta and alphas: which images continue, and with how many targets."""

    eta: float
    alphas: tuple[float, ...]
    ranges: Range = "percentile"
    smoothing: float = 0.5


@dataclass(frozen=True)
class CalibrationResult:
    """Smoothing factors by layer, ranges by engine and layer, and each layer's sensitivity."""

    smoothing: Factors
    ranges: Mapping[str, Mapping[str, float]]
    sensitivity: Mapping[str, float]
    key: str  # of models, images and settings: a later run with the same key need not calibrate again


def read_models(files: Mapping[str, Path]) -> dict[str, onnx.ModelProto]:
    """Read the fp32 engines with their weights, by role."""
    return {role: onnx.load(str(files[role])) for role in (*STAGES, BASELINE) if role in files}


def cache_key(files: Mapping[str, Path], inputs: CalibrationInputs, settings: CalibrationSettings) -> str:
    """Return the SHA-256 over all that the ranges depend on."""
    hashes = {role: describe_file(path).sha256 for role, path in files.items()}
    constants = [SENSITIVITY_IMAGES, PERCENTILE, BINS.get(settings.ranges)]
    facts = {"files": hashes, "pictures": inputs.digest, "settings": asdict(settings), "constants": constants}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find_ranges(
    models: Models,
    inputs: CalibrationInputs,
    settings: CalibrationSettings,
    key: str,
    threads: int,
    progress: Progress,
) -> CalibrationResult:
    """Run the fp32 engines over the calibration inputs. Raises OutputError for NaN or infinite ranges."""
    batches = sum(map(inputs.num_batches, models))
    with progress.bar(f"largest values of the channels ({', '.join(models)})", batches) as advance:
        maxima = {
            role: channel_maxima(model, with_progress(inputs.batches(role), advance), threads)
            for role, model in models.items()
        }
        s = factors(models, joint_maxima(maxima), settings.smoothing)
    smoothed = {role: fold(model, s) for role, model in models.items()}
    ranges = {}
    with progress.bar(f"ranges ({settings.ranges}), {len(s)} layers smoothed", batches) as advance:
        for role, model in smoothed.items():
            after = {layer: value / s.get(layer, np.float32(1)) for layer, value in maxima[role].items()}
            ranges[role] = tensor_ranges(
                model, with_progress(inputs.batches(role), advance), settings.ranges, after, threads
            )
    sensitivity: dict[str, float] = {}
    few = inputs.part(SENSITIVITY_IMAGES)
    length = sum(len({linear.layer for linear in linears(models[role])}) * few.num_batches(role) for role in STAGES)
    with progress.bar("sensitivity of every layer to int8", length) as advance:
        for role in STAGES:
            of_stage = layer_sensitivity(smoothed[role], ranges[role], few.batches(role), threads, advance)
            for layer, value in of_stage.items():
                sensitivity[layer] = max(sensitivity.get(layer, 0.0), value)
    return CalibrationResult(s, ranges, sensitivity, key)


def cached_or_found(
    bundle: Path,
    models: Models,
    key: str,
    inputs: CalibrationInputs,
    settings: CalibrationSettings,
    threads: int,
    progress: Progress,
) -> CalibrationResult:
    """Take the result of an earlier calibration with the same key from the bundle, or calibrate."""
    cached = load_cache(bundle / RANGES_FILE, key)
    if cached is not None:
        progress.note("the bundle already has the ranges of these images and settings; they are used again")
        return CalibrationResult(*cached, key)
    return find_ranges(models, inputs, settings, key, threads, progress)


def write_int8(
    folder: Path, models: Models, result: CalibrationResult, keep: Collection[str], golden: Golden, fp32: Cascade
) -> tuple[Variant, Parity]:
    """Write the int8 engines into `folder`, weights stored once, and compare them with the golden vectors.

    keep: layers that stay in fp32. Raises ExportError if the ONNX checker refuses a file.
    """
    paths = write_graphs(folder, models, result, keep)
    save_cache(folder / RANGES_FILE, result.smoothing, result.ranges, result.sensitivity, result.key)
    paths["ranges"] = folder / RANGES_FILE
    parity = measure_parity(Cascade(fp32.backend, paths, fp32.config), golden, PRECISION, GOLDEN_BATCHES)
    return Variant({role: describe_file(path) for role, path in paths.items()}, parity.to_dict()), parity


def write_graphs(
    folder: Path, models: Models, result: CalibrationResult, keep: Collection[str] = ()
) -> dict[str, Path]:
    """Smooth, quantise and write the engines; returns paths by role, `weights` among them."""
    import onnx_ir as ir

    from sacvit_deploy.bundle.weights import write_engines

    graphs = {}
    for role, model in models.items():
        reduced = quantise(fold(model, result.smoothing), result.ranges[role], keep)
        graphs[role] = ir.serde.deserialize_model(reduced)
        graphs[role].graph.sort()  # the quantiser appends its nodes at the end
    return write_engines(folder, graphs, PRECISION)


def describe_calibration(
    result: CalibrationResult, keep: Collection[str], settings: CalibrationSettings, images: int, continued: int
) -> dict[str, Any]:
    """Describe the calibration for the manifest."""
    return {
        "ranges": settings.ranges,
        "smoothing": settings.smoothing,
        "alphas": list(settings.alphas),
        "eta": settings.eta,
        "pictures": images,
        "continued": continued,
        "key": result.key,
        "kept_in_fp32": sorted(keep),
        "damage": {layer: float(f"{value:.3g}") for layer, value in ranked(result.sensitivity)},
    }


def ranked(sensitivity: Mapping[str, float]) -> list[tuple[str, float]]:
    """Sort layers by sensitivity, the most sensitive first."""
    return sorted(sensitivity.items(), key=lambda item: -item[1])
