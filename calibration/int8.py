"""The int8 variant of a bundle: ranges through the cascade, smoothed weights, engines that share them."""

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
from sacvit_deploy.calibration.calibration_inputs import Calibration, told
from sacvit_deploy.calibration.linears import Models, linears
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.calibration.ranges import BINS, PERCENTILE, Range, channel_maxima, tensor_ranges
from sacvit_deploy.calibration.sensitivity import damage
from sacvit_deploy.calibration.smooth import Factors, factors, fold, joint_maxima
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, STAGES
from sacvit_deploy.verification.golden import Golden
from sacvit_deploy.verification.parity import Parity, measure_parity

PRECISION = "int8"
RANGES_FILE = "ranges.int8.npz"
DAMAGE_PICTURES = 16  # one batch through every layer
GOLDEN_BATCHES = (1, 2)


@dataclass(frozen=True)
class Settings:
    """What decides the ranges, next to model and pictures. eta and alphas: who continues, and with how many targets."""

    eta: float
    alphas: tuple[float, ...]
    ranges: Range = "percentile"
    smoothing: float = 0.5


@dataclass(frozen=True)
class Ranged:
    """What calibration found: smoothing factors by layer, ranges by engine and layer, and each layer's damage."""

    smoothing: Factors
    ranges: Mapping[str, Mapping[str, float]]
    damage: Mapping[str, float]
    key: str  # of models, pictures and settings: a later run with the same key need not calibrate again


def read_models(files: Mapping[str, Path]) -> dict[str, onnx.ModelProto]:
    """The fp32 engines with their weights, by role."""
    return {role: onnx.load(str(files[role])) for role in (*STAGES, BASELINE) if role in files}


def cache_key(files: Mapping[str, Path], calibration: Calibration, settings: Settings) -> str:
    """SHA-256 over all that the ranges depend on."""
    hashes = {role: describe_file(path).sha256 for role, path in files.items()}
    constants = [DAMAGE_PICTURES, PERCENTILE, BINS.get(settings.ranges)]
    facts = {"files": hashes, "pictures": calibration.digest, "settings": asdict(settings), "constants": constants}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find_ranges(
    models: Models, calibration: Calibration, settings: Settings, key: str, threads: int, say: Progress
) -> Ranged:
    """Run the fp32 engines over the calibration pictures. Raises OutputError for ranges that are no numbers."""
    batches = sum(map(calibration.batches, models))
    with say.bar(f"how large the channels get ({', '.join(models)})", batches) as advance:
        maxima = {
            role: channel_maxima(model, told(calibration.feeds(role), advance), threads)
            for role, model in models.items()
        }
        s = factors(models, joint_maxima(maxima), settings.smoothing)
    smoothed = {role: fold(model, s) for role, model in models.items()}
    ranges = {}
    with say.bar(f"ranges ({settings.ranges}), {len(s)} layers smoothed", batches) as advance:
        for role, model in smoothed.items():
            after = {layer: value / s.get(layer, np.float32(1)) for layer, value in maxima[role].items()}
            feeds = told(calibration.feeds(role), advance)
            ranges[role] = tensor_ranges(model, feeds, settings.ranges, after, threads)
    hurt: dict[str, float] = {}
    few = calibration.part(DAMAGE_PICTURES)
    length = sum(len({linear.layer for linear in linears(models[role])}) * few.batches(role) for role in STAGES)
    with say.bar("damage of every layer alone", length) as advance:
        for role in STAGES:
            for layer, value in damage(smoothed[role], ranges[role], few.feeds(role), threads, advance).items():
                hurt[layer] = max(hurt.get(layer, 0.0), value)
    return Ranged(s, ranges, hurt, key)


def ranged_or_cached(
    bundle: Path, models: Models, key: str, calibration: Calibration, settings: Settings, threads: int, say: Progress
) -> Ranged:
    """What an earlier calibration of the same models, pictures and settings left in the bundle, or a new one."""
    cached = load_cache(bundle / RANGES_FILE, key)
    if cached is not None:
        say.note("the bundle already has the ranges of these pictures and settings; they are used again")
        return Ranged(*cached, key)
    return find_ranges(models, calibration, settings, key, threads, say)


def write_int8(
    folder: Path, models: Models, found: Ranged, keep: Collection[str], golden: Golden, fp32: Cascade
) -> tuple[Variant, Parity]:
    """Write the int8 engines into `folder`, weights stored once, and compare them with the golden vectors.

    keep: layers that stay in fp32. Raises ExportError if the ONNX checker refuses a file.
    """
    paths = write_graphs(folder, models, found, keep)
    save_cache(folder / RANGES_FILE, found.smoothing, found.ranges, found.damage, found.key)
    paths["ranges"] = folder / RANGES_FILE
    parity = measure_parity(Cascade(fp32.backend, paths, fp32.config), golden, PRECISION, GOLDEN_BATCHES)
    return Variant({role: describe_file(path) for role, path in paths.items()}, parity.to_dict()), parity


def write_graphs(folder: Path, models: Models, found: Ranged, keep: Collection[str] = ()) -> dict[str, Path]:
    """Smooth, quantise and write the engines; returns paths by role, `weights` among them."""
    import onnx_ir as ir

    from sacvit_deploy.bundle.weights import write_engines

    graphs = {}
    for role, model in models.items():
        reduced = quantise(fold(model, found.smoothing), found.ranges[role], keep)
        graphs[role] = ir.serde.deserialize_model(reduced)
        graphs[role].graph.sort()  # the quantiser appends its nodes at the end
    return write_engines(folder, graphs, PRECISION)


def describe(found: Ranged, keep: Collection[str], settings: Settings, pictures: int, continued: int) -> dict[str, Any]:
    """The calibration for the manifest."""
    return {
        "ranges": settings.ranges,
        "smoothing": settings.smoothing,
        "alphas": list(settings.alphas),
        "eta": settings.eta,
        "pictures": pictures,
        "continued": continued,
        "key": found.key,
        "kept_in_fp32": sorted(keep),
        "damage": {layer: float(f"{value:.3g}") for layer, value in ranked(found.damage)},
    }


def ranked(hurt: Mapping[str, float]) -> list[tuple[str, float]]:
    """Layers by damage, the worst first."""
    return sorted(hurt.items(), key=lambda item: -item[1])
