"""The cascade against a plain DeiT on a GPU, in the same runtime and precision. One command, no network:

    python -m sacvit_deploy.benchmarks.gpu --out gpu.json              # the runtimes that are there, DeiT-S, fp16
    python -m sacvit_deploy.benchmarks.gpu --geometry tiny --geometry base --precision fp32 --precision fp16

Random weights; both sides take decoded 8-bit images, upload them from pinned memory, prepare them on the device and
overlap the next upload with the work. `--work` keeps bundles and plans for the next call; --prepare makes the bundles
on a machine with torch for one without (copy the folder). **Not run on a GPU yet**; the tests run it on the CPU.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.benchmarks.gpu_prepare import GEOMETRIES, prepare_bundle, prepare_plans
from sacvit_deploy.benchmarks.gpu_rows import CHECKED, GpuRow, check, line, measure_batch, noise
from sacvit_deploy.benchmarks.gpu_torch import torch_milliseconds
from sacvit_deploy.benchmarks.machine.fingerprint import fingerprint
from sacvit_deploy.benchmarks.spread import Spread, spread_of
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.device.protocol import Device
from sacvit_deploy.errors import BackendError, SacvitError, first_line
from sacvit_deploy.stages.context_pool import ContextPool

RUNTIMES = ("tensorrt", "tensorrt-rtx", "cuda", "cpu")  # cpu is for trying the script without a GPU
BATCHES = (1, 8, 32, 128, 512, 1024)


def open_devices(runtime: str, work: Path, precision: str, batch: int) -> tuple[Device, Device]:
    """Open the cascade's engines, and the DeiT's behind the same preprocessing. Raises BackendError."""
    bundle = open_bundle(work)
    files = bundle.checked_files(precision)
    whole = {"view": work / f"whole.{precision}.onnx", "ee": files["deit"]}
    if runtime in ("cuda", "cpu"):
        backend = OnnxRuntimeBackend(runtime, 2)
        return OnnxRuntimeDevice(backend.sessions, files), OnnxRuntimeDevice(backend.sessions, whole)
    from sacvit_deploy.backends.tensorrt.device import TensorRTDevice
    from sacvit_deploy.backends.tensorrt.library import load_library

    library = load_library(runtime)
    plans = prepare_plans(library, work, precision, batch)
    return TensorRTDevice(library, plans), TensorRTDevice(library, {"view": plans["whole"], "ee": plans["deit"]})


@click.command()
@click.option(
    "--runtime",
    "runtimes",
    multiple=True,
    type=click.Choice(RUNTIMES),
    help="May be repeated.  [default: those that are there, without cpu]",
)
@click.option("--geometry", "geometries", multiple=True, type=click.Choice(list(GEOMETRIES)), default=["small"])
@click.option("--precision", "precisions", multiple=True, type=click.Choice(["fp32", "fp16", "int8"]), default=["fp16"])
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), default=BATCHES)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--torch", "with_torch", is_flag=True, help="Measure PyTorch's DeiT, too, eager and compiled.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("gpu-bench"), show_default=True)
@click.option("--prepare", is_flag=True, help="Make the bundles in --work and stop; needs torch, no GPU.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON to write.")
def command(
    runtimes: tuple[str, ...],
    geometries: tuple[str, ...],
    precisions: tuple[str, ...],
    batches: tuple[int, ...],
    rounds: int,
    with_torch: bool,
    work: Path,
    prepare: bool,
    out: Path | None,
) -> None:
    """Measure, print a table, write JSON. A runtime that is not installed is named with the reason."""
    rows: list[GpuRow] = []
    absent: dict[str, str] = {}
    agreement: dict[str, float] = {}
    others: dict[str, Spread] = {}
    for geometry in geometries:
        folder = prepare_bundle(work, geometry, precisions)
        config = open_bundle(folder).manifest.config
        for precision in () if prepare else precisions:
            for runtime in runtimes or RUNTIMES[:-1]:
                try:
                    devices = open_devices(runtime, folder, precision, max(batches))
                    cascade, deit = (ContextPool(device, config) for device in devices)
                    fp32 = Cascade(OnnxRuntimeBackend("cpu", 2), open_bundle(folder).checked_files("fp32"), config)
                    agreement[f"{geometry} {runtime} {precision}"] = check(cascade, fp32, config)
                except BackendError as error:
                    if runtime in runtimes:
                        raise
                    absent[runtime] = str(error)
                    continue
                for batch in batches:
                    try:
                        for row in measure_batch((geometry, runtime, precision), cascade, deit, config, batch, rounds):
                            rows.append(row)
                            click.echo(line(row))
                    except BackendError as error:  # out of memory at the largest batches, say
                        absent[f"{geometry} {runtime} {precision} batch {batch}"] = str(error)
            for batch in batches if with_torch else ():
                pixels, device = noise(config, batch), "cpu" if runtimes == ("cpu",) else "cuda"
                measure = partial(torch_milliseconds, work / f"{geometry}.safetensors", pixels, batch, rounds, device)
                for name, compiled in (("eager", False), ("compiled", True)):
                    case = f"{geometry} PyTorch {name} {precision} batch {batch}"
                    try:
                        times = measure(half=precision == "fp16", compiled=compiled)
                    except (ImportError, RuntimeError) as error:
                        absent[case] = first_line(error)
                        continue
                    others[case] = spread_of(times)
                    click.echo(f"{case}: DeiT {others[case].median:.3f} ms")
    for name, why in absent.items():
        click.echo(f"not run: {name}: {why}")
    for name, share in agreement.items():
        click.echo(f"same class as fp32 on the CPU, {CHECKED} images through both stages: {name} {share:.1%}")
    if out is not None:
        facts: dict[str, Any] = {"machine": fingerprint(), "rows": [asdict(row) for row in rows]}
        facts["pytorch_deit_ms"] = {name: asdict(time) for name, time in others.items()}
        out.write_text(json.dumps({**facts, "agreement": agreement, "not_run": absent}, indent=1) + "\n")


def main() -> None:
    """Run as a script."""
    try:
        command()
    except SacvitError as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
