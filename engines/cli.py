"""`sacvit build`: a bundle's ONNX engines to TensorRT plans."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from sacvit_deploy.backends.tensorrt.compat import is_rtx
from sacvit_deploy.backends.tensorrt.library import RUNTIMES, Library, first_library, load_library
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.plans import BuildTarget, PlanRecord
from sacvit_deploy.bundle.write import recover
from sacvit_deploy.commands.common import bundle_argument, json_option, numbers
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.terminal import say
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.engines.build import BuildOptions
from sacvit_deploy.engines.plan_folder import BuildRequest, build_plans
from sacvit_deploy.engines.profiles import SizeRange, target_range
from sacvit_deploy.errors import BackendError, UsageError
from sacvit_deploy.precisions import PRECISIONS, preferred


@click.command("build", cls=StrictCommand)
@bundle_argument
@click.option("--runtime", type=click.Choice(list(RUNTIMES)), help="Library to build with.  [default: what is there]")
@click.option(
    "--precision", type=click.Choice(list(PRECISIONS)), help="Variant.  [default: fp16, or fp32 if there is none]"
)
@click.option("--batch", callback=numbers, default="1,8,64", show_default=True, help="Images per call: MIN,OPT,MAX.")
@click.option("--alpha", callback=numbers, help="Shares of targets: MIN,OPT,MAX or MIN,MAX.  [default: every alpha]")
@click.option("--workspace", type=click.IntRange(min=1), help="MB of scratch memory for the builder.")
@click.option(
    "--compute-capability",
    "capabilities",
    help="GPUs to compile for without having them (TensorRT-RTX): "
    "8.6,8.9,12.0 or 86,89,120.  [default: this machine's]",
)
@click.option("--timing-cache", type=click.Path(path_type=Path, dir_okay=False), help="Timings to keep (TensorRT).")
@click.option("--baseline", is_flag=True, help="Build the plain DeiT, too, for benchmarks.")
@click.option("--dry-run", is_flag=True, help="Show what would be built, and build nothing.")
@json_option
def command(
    bundle: Path | None,
    runtime: str | None,
    precision: str | None,
    batch: Sequence[float],
    alpha: Sequence[float] | None,
    workspace: int | None,
    capabilities: str | None,
    timing_cache: Path | None,
    baseline: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build plans from a BUNDLE's engines, into plans/ of the bundle.

    TensorRT builds for the GPU of this machine; TensorRT-RTX also compiles for others ahead of time, without one.
    """
    folder = bundle or find_bundle()
    recover(folder)
    opened = open_bundle(folder)
    if len(batch) != 3 or not all(size.is_integer() for size in batch):
        raise UsageError("--batch takes three whole numbers, MIN,OPT,MAX")
    if alpha is not None and len(alpha) > 3:
        raise UsageError("--alpha takes up to three numbers, MIN,OPT,MAX")
    b = SizeRange(*map(int, batch))
    precision = precision or preferred(opened.manifest.variants, on_cpu=False)[0]
    opened.variant(precision)
    m = target_range(opened.manifest.config, alpha)
    library = load_library(runtime) if runtime else first_library()
    if timing_cache is not None and is_rtx(library):
        raise UsageError("TensorRT-RTX keeps no timings; --timing-cache is for --runtime tensorrt")
    target, here = find_target(library, capabilities)
    named = target.capabilities if capabilities is not None else ()
    options = BuildOptions(named, None if workspace is None else workspace << 20, timing_cache)
    record = PlanRecord(target, precision, (b.min, b.opt, b.max), (m.min, m.opt, m.max), {})
    request = BuildRequest(opened, record, options, baseline, here)
    if dry_run:
        _show(request, as_json)
        return
    record = build_plans(library, request, Progress(sys.stderr if as_json else sys.stdout))
    if as_json:
        click.echo(json.dumps({"folder": str(request.folder), **asdict(record)}, indent=1))
        return
    total = sum(plan.file.bytes for plan in record.plans.values())
    say(f"wrote {request.folder} ({total / 1e6:.1f} MB)")
    for role, plan in record.plans.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in plan.facts["precisions"].items())
        say(f"  {role:<7} {plan.file.bytes / 1e6:6.2f} MB  layers by type ({plan.facts['read_from']}): {kinds}")
    if here:
        say(f"next: sacvit verify {opened.path} --backend {record.place.runtime} --precision {precision}")
    else:
        say("not run: no GPU here. Copy the bundle to one of these GPUs and run `sacvit verify` there")


def _show(request: BuildRequest, as_json: bool) -> None:
    """Print what would be built: the folder, the GPU and each engine's profiles, as shapes min, opt, max by input."""
    profiles = request.profiles()
    if as_json:
        shown = {"folder": str(request.folder), "place": asdict(request.record.place), "profiles": profiles}
        click.echo(json.dumps(shown, indent=1))
        return
    say(f"would write {request.folder}")
    for role, ranges in profiles.items():
        for number, profile in enumerate(ranges):
            say(f"  {role}.plan, profile {number}")
            for name, shapes in profile.items():
                say(f"    {name:<16} " + "  ".join("x".join(map(str, shape)) for shape in shapes))


def find_target(library: Library, capabilities: str | None) -> tuple[BuildTarget, bool]:
    """Return the GPUs to build for, and whether this machine has one of them.

    capabilities: compute capabilities separated by commas, for TensorRT-RTX; None means this machine's GPU. Raises
    UsageError where the library can't compile for other GPUs, BackendError where there is no GPU to build for.
    """
    rtx, named = is_rtx(library), None
    if capabilities is not None:
        if not rtx:
            raise UsageError(
                "TensorRT builds for the GPU it finds; only --runtime tensorrt-rtx takes --compute-capability"
            )
        # `86` means `8.6`.
        named = tuple(re.sub(r"^(\d+)(\d)$", r"\1.\2", part.strip()) for part in capabilities.split(","))
    try:
        gpu = find_gpu()
    except BackendError as error:
        if named is None:
            hint = "; name GPUs with --compute-capability to build without one" if rtx else ""
            raise BackendError(f"there is no GPU to build for: {error}{hint}") from error
        return BuildTarget(library.runtime, library.version, None, named), False
    named = named or (gpu.compute_capability,)
    here = gpu.compute_capability in named
    device, driver = None if rtx else gpu.name, gpu.driver if here else None
    return BuildTarget(library.runtime, library.version, device, named, driver), here
