"""Inputs of gpu.py: bundles with random weights and, for TensorRT, plans up to the largest batch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from sacvit_deploy.backends.tensorrt.compat import is_rtx
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.bundle.bundle import MANIFEST, hash_file, open_bundle
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.engines.build import BuildOptions, build_plan
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges, target_range
from sacvit_deploy.files import whole_file

GEOMETRIES = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12), "toy": (64, 1)}  # width, depth; toy for tests


def prepare_bundle(work: Path, geometry: str, precisions: Sequence[str]) -> Path:
    """Write WORK/GEOMETRY.sacvit unless it exists, which needs torch; returns its path."""
    target = work / f"{geometry}.sacvit"
    if (target / MANIFEST).exists():
        return target
    import torch

    from sacvit_deploy.benchmarks.random_checkpoint import write_random
    from sacvit_deploy.bundle.weights import write_graph
    from sacvit_deploy.calibration.job import CalibrationJob, reduce_bundle
    from sacvit_deploy.console.progress import Progress
    from sacvit_deploy.export.checkpoint import load_checkpoint
    from sacvit_deploy.export.glue import ViewStage
    from sacvit_deploy.export.graph import trace
    from sacvit_deploy.export.pipeline import ExportRequest, export_bundle

    work.mkdir(parents=True, exist_ok=True)
    source = work / f"{geometry}.safetensors"
    write_random(source, *GEOMETRIES[geometry])
    checkpoint = load_checkpoint(source)

    def add(folder: Path) -> None:
        """Add the DeiT's preprocessing, and int8 calibrated on the package's photographs."""
        for precision in {"fp32", *precisions}:
            dtype = torch.float16 if precision == "fp16" else torch.float32
            stage = ViewStage(checkpoint.model.config, dtype, whole=True)
            write_graph(folder / f"whole.{precision}.onnx", trace(stage))
        if "int8" in precisions:
            with resources.as_file(resources.files("sacvit_deploy.export") / "pictures") as images:
                reduce_bundle(folder, CalibrationJob(images, int8=True, threads=usable_cores()))

    wanted = ["fp32", *(["fp16"] if "fp16" in precisions else [])]
    request = ExportRequest(source, target, precisions=wanted, threads=usable_cores(), postprocess=add)
    export_bundle(checkpoint, request, Progress())
    return target


def prepare_plans(library: Library, bundle: Path, precision: str, batch: int) -> dict[str, Path]:
    """Return plans by role for up to `batch` images, built once per GPU and library. `whole`: the DeiT's view."""
    opened = open_bundle(bundle)
    config = opened.manifest.config
    files = opened.checked_files(precision) | {"whole": bundle / f"whole.{precision}.onnx"}
    gpu = find_gpu()
    capabilities = (gpu.compute_capability,) if is_rtx(library) else ()
    targets = target_range(config, (config.method.alpha,))
    plans = {}
    for role in ("view", "ee", "gather", "sac", BASELINE, "whole"):
        stamp = f"{library.runtime}-{library.version}-{gpu.name}-{batch}-{hash_file(files[role])[:12]}"
        plans[role] = bundle / "bench-plans" / f"{role}.{stamp.replace(' ', '-')}.plan"
        if plans[role].exists():
            continue
        plans[role].parent.mkdir(exist_ok=True)
        shapes_of = "view" if role == "whole" else role
        batches = batch_ranges(SizeRange(1, batch, batch))
        profiles = [input_ranges(shapes_of, config, sizes, targets) for sizes in batches]
        plan = build_plan(library, files[role], profiles, BuildOptions(capabilities))
        with whole_file(plans[role]) as partial:
            partial.write_bytes(plan)
    return plans
