"""The bundles of a check: one of a DeiT's size whose random weights compress to nothing, and a trained one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.benchmarks.gpu_check.carried import EXAMPLE, SPEED, pack
from sacvit_deploy.benchmarks.gpu_check.subject import noise
from sacvit_deploy.benchmarks.images import make_images
from sacvit_deploy.bundle.bundle import describe_file, open_bundle
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.calibration.accuracy_gate import save_variants
from sacvit_deploy.calibration.cache import CalibrationResult
from sacvit_deploy.calibration.calibration_inputs import FEW, CalibrationInputs
from sacvit_deploy.calibration.int8 import PRECISION, write_graphs
from sacvit_deploy.calibration.job import CalibrationJob, reduce_bundle
from sacvit_deploy.calibration.ranges import channel_maxima, tensor_ranges
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, GLUE, STAGES
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import random_model
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle

GEOMETRIES = {"tiny": (192, 12, 224), "small": (384, 12, 224), "base": (768, 12, 224), "toy": (64, 1, 64)}
CALIBRATED_WITH = 64  # mosaics, for the trained model's int8
TILE = 64  # rows and columns after which a weight's values come again


def prepare(folder: Path, geometry: str, checkpoint: Path) -> int:
    """Export and pack both bundles in fp32, fp16 and int8; returns the folder's bytes.

    Raises ExportError, UsageError.
    """
    width, depth, side = GEOMETRIES[geometry]
    config = ModelConfig(Geometry(image_size=side, width=width, depth=depth, heads=max(1, width // 64)))
    with TemporaryDirectory(prefix="sacvit-check-") as scratch:
        source, bundles = Path(scratch) / "speed.safetensors", {name: Path(scratch) / name for name in (SPEED, EXAMPLE)}
        save_checkpoint(source, tiled(random_model(config)), provenance={"data": "none, random weights in tiles"})
        export(load_checkpoint(source), bundles[SPEED], add_int8)
        mosaics = Path(scratch) / "mosaics"
        mosaics.mkdir()
        make_images(mosaics, CALIBRATED_WITH)
        job = CalibrationJob(mosaics, int8=True, threads=usable_cores())
        export(load_checkpoint(checkpoint), bundles[EXAMPLE], lambda written: reduce_bundle(written, job))
        return pack(folder, bundles)


def export(checkpoint: Checkpoint, target: Path, reduce: Callable[[Path], None]) -> None:
    """Write a bundle in fp32 and fp16, and in int8 by `reduce`."""
    request = ExportRequest(target, precisions=("fp32", "fp16"), threads=usable_cores(), postprocess=reduce)
    export_bundle(checkpoint, request, Progress())


def add_int8(folder: Path) -> None:
    """Add an int8 variant to a bundle folder that nobody else reads yet, with every layer in int8.

    Random weights have no accuracy to lose, and layers kept in fp32 for its sake would take another time.
    """
    bundle = open_bundle(folder)
    config, files, threads = bundle.manifest.config, bundle.checked_files("fp32"), usable_cores()
    cascade = Cascade(OnnxRuntimeBackend("cpu", threads), files, config)
    images = list(noise(config, FEW))
    out = cascade.stage_one(cascade.low_view(images))
    targets = cascade.targets(out["scores"], config.num_targets())
    request = cascade.request(images, out, np.arange(FEW), targets)
    inputs = CalibrationInputs(cascade, images, [request], "", ())
    models = {role: onnx.load(str(files[role])) for role in (*STAGES, BASELINE)}
    maxima = {role: channel_maxima(model, inputs.batches(role), threads) for role, model in models.items()}
    ranges = {role: tensor_ranges(model, (), "minmax", maxima[role], threads) for role, model in models.items()}
    paths = write_graphs(folder, models, CalibrationResult({}, ranges, {}, ""), ())
    glue = {role: entry for role, entry in bundle.variant("fp32").files.items() if role in GLUE}
    save_variants(
        bundle, {PRECISION: Variant({**{role: describe_file(path) for role, path in paths.items()}, **glue}, {})}
    )


def tiled(model: ReferenceSACViT) -> ReferenceSACViT:
    """Let every large weight repeat its first tile: the values do not change the time, and an archive stores them once.

    The classifier keeps its own, or classes would be equal; larger ones spread the probabilities for eta.
    """
    model.head.weight.data *= 20
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and min(parameter.shape) > TILE and not name.startswith("head"):
            rows, columns = (torch.arange(size) % TILE for size in parameter.shape)
            parameter.data = parameter.data[rows][:, columns].clone()
    return model
