"""The int8 variant of a bundle: its calibration, and the search for the layers that must stay in fp32."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from sacvit_deploy.bundle.bundle import describe_file
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.bundle.weights import write_engines
from sacvit_deploy.calibration.accuracy_gate import AccuracyGate, save_variants
from sacvit_deploy.calibration.cache import CalibrationResult, load_cache, save_cache
from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs, collect_inputs, with_progress
from sacvit_deploy.calibration.linears import Models, linears
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import BINS, PERCENTILE, Range, channel_maxima, tensor_ranges
from sacvit_deploy.calibration.sensitivity import layer_sensitivity
from sacvit_deploy.calibration.smooth import factors, fold, joint_maxima
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.text import counted
from sacvit_deploy.contract import BASELINE, GLUE, STAGES
from sacvit_deploy.errors import ExportError
from sacvit_deploy.evaluation.labelled_images import LabelledImages
from sacvit_deploy.verification.golden import load_golden
from sacvit_deploy.verification.parity import measure_parity

PRECISION = "int8"
RANGES_FILE = "ranges.int8.npz"
SENSITIVITY_IMAGES = 16  # one batch, which goes through the engine once for every layer
GOLDEN_BATCHES = (1, 2)
BUDGET = 0.5  # points of top-1 a variant may lose before layers are kept in fp32, unless --max-drop says otherwise


@dataclass(frozen=True)
class CalibrationSettings:
    """Settings that decide the ranges. alphas and eta: how many targets there are, and which images continue."""

    ranges: Range
    smoothing: float
    alphas: tuple[float, ...]
    eta: float


def calibrate(
    images: LabelledImages, settings: CalibrationSettings, gate: AccuracyGate, budget: float, progress: Progress
) -> None:
    """Write an int8 variant into the gate's bundle folder, which nobody else reads yet.

    The most sensitive layers stay in fp32, more and more of them, until the golden vectors' answers are met and, where
    the evaluation images have labels, no accuracy falls by more than `budget` points. Raises OutputError, ImageError,
    and ExportError where half of the layers in fp32 are not enough.
    """
    bundle, config = gate.bundle, gate.bundle.manifest.config
    files = bundle.checked_files("fp32")
    with progress.bar(f"{len(images):,} calibration images through the fp32 cascade", len(images)) as advance:
        fp32 = Cascade(gate.backend, files, config)
        inputs = collect_inputs(fp32, images, eta=settings.eta, alphas=settings.alphas, advance=advance)
    for note in inputs.notes:
        progress.note(f"note: {note}")
    models = {role: onnx.load(str(files[role])) for role in (*STAGES, BASELINE) if role in files}
    key = cache_key(files, inputs, settings)
    cache = bundle.path / RANGES_FILE
    result = load_cache(cache, key)
    if result is None:
        result = find_ranges(models, inputs, settings, key, gate.backend.threads, progress)
    else:
        progress.note("the bundle already has the ranges of these images and settings; they are used again")
    save_cache(cache, result)
    golden = load_golden(bundle.path / bundle.manifest.golden.path, bundle.manifest.config)
    # int8 engines have the same input and output types as fp32's, so the glue for devices serves both.
    glue = {role: entry for role, entry in bundle.variant("fp32").files.items() if role in GLUE}
    ranked = sorted(result.sensitivity.items(), key=lambda item: -item[1])
    order = [layer for layer, _ in ranked]
    keep: list[str] = []
    while True:
        extent = f"{len(keep)} of {len(order)} layers kept in fp32" if keep else "all layers"
        with progress.step(f"int8 engines, {extent}"):
            paths = {**write_graphs(bundle.path, models, result, keep), "ranges": cache}
            parity = measure_parity(Cascade(gate.backend, paths, config), golden, PRECISION, GOLDEN_BATCHES)
        facts = {
            **asdict(settings),
            "pictures": len(inputs.images),
            "continued": sum(request.size for request in inputs.requests) // len(settings.alphas),
            "key": key,
            "kept_in_fp32": sorted(keep),
            "damage": {layer: float(f"{value:.3g}") for layer, value in ranked},
        }
        entries = {role: describe_file(path) for role, path in paths.items()}
        before = bundle.manifest.variants.get(PRECISION)  # its eta stays until the variant is judged, which tells
        eta = None if before is None else before.eta
        variant = Variant({**entries, **glue}, parity.to_dict(), eta, report={"calibration": facts})
        if not parity.passed:
            trouble = f"int8 is too far from the reference, {parity.summary()}"
        elif (drop := gate.report(PRECISION, variant, progress).drop) is not None and drop > budget:
            trouble = f"int8 loses {drop:.2f} points"
        else:
            break
        most = len(order) // 2  # with more it would hardly be an int8 variant
        if len(keep) >= most:
            raise ExportError(
                f"{trouble} even with {len(keep)} of {len(order)} layers in fp32; calibrate with more images, or "
                "allow a larger --max-drop"
            )
        keep = order[: min(max(1, 2 * len(keep)), most)]
        progress.note(f"{trouble}; keeping {counted(len(keep), 'layer')} in fp32, the most sensitive first")
    save_variants(bundle, {PRECISION: variant})


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


def write_graphs(folder: Path, models: Models, result: CalibrationResult, keep: Collection[str]) -> dict[str, Path]:
    """Smooth, quantise and write the engines, with the layers `keep` in fp32; returns paths by role, with `weights`."""
    graphs = {}
    for role, model in models.items():
        reduced = quantise(fold(model, result.smoothing), result.ranges[role], keep)
        graphs[role] = ir.serde.deserialize_model(reduced)
        graphs[role].graph.sort()  # the quantiser appends its nodes at the end
    return write_engines(folder, graphs, PRECISION)
