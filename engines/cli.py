"""`sacvit build`: a bundle's ONNX engines to plans."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import click

from sacvit_deploy.backends.tensorrt.compat import is_rtx
from sacvit_deploy.backends.tensorrt.library import RUNTIMES, first_library, load_library
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.plans import FOLDER, PlanRecord
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.engines.build import Limits
from sacvit_deploy.engines.plan_folder import Order, build_plans, profiles_of, record_of, roles_of
from sacvit_deploy.engines.profiles import Span, target_span
from sacvit_deploy.engines.target import find_target
from sacvit_deploy.errors import UsageError
from sacvit_deploy.precisions import PRECISIONS, preferred

BATCH = Span(1, 8, 64)
N = TypeVar("N", int, float)


@click.command("build")
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--runtime", type=click.Choice(list(RUNTIMES)), help="Library to build with.  [default: what is there]")
@click.option(
    "--precision", type=click.Choice(list(PRECISIONS)), help="Variant.  [default: fp16, or fp32 if there is none]"
)
@click.option("--batch", default=",".join(map(str, BATCH)), show_default=True, help="Pictures a call: MIN,OPT,MAX.")
@click.option("--alpha", help="Shares of targets: MIN,OPT,MAX or MIN,MAX.  [default: every alpha]")
@click.option("--workspace", type=click.IntRange(min=1), help="MB the builder may try layers with.")
@click.option(
    "--compute-capability",
    "capabilities",
    help="GPUs to compile for without having them (TensorRT-RTX): "
    "8.6,8.9,12.0 or 86,89,120.  [default: this machine's]",
)
@click.option("--timing-cache", type=click.Path(path_type=Path, dir_okay=False), help="Timings to keep (TensorRT).")
@click.option("--baseline", is_flag=True, help="Build the plain DeiT, too, for benchmarks.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and build nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    bundle: Path | None,
    runtime: str | None,
    precision: str | None,
    batch: str,
    alpha: str | None,
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
    opened = open_bundle(bundle or find_bundle())
    span = Span(*_numbers(batch, int, "--batch"))
    variants = opened.manifest.variants
    precision = precision or preferred(variants, on_cpu=False)[0]
    opened.variant(precision)
    targets = target_span(opened.manifest.config, _numbers(alpha, float, "--alpha") if alpha else None)
    library = load_library(runtime) if runtime else first_library()
    if timing_cache is not None and is_rtx(library):
        raise UsageError("TensorRT-RTX keeps no timings; --timing-cache is for --runtime tensorrt")
    place, here = find_target(library, capabilities)
    limits = Limits(
        place.capabilities if is_rtx(library) else (),
        None if workspace is None else workspace << 20,
        timing_cache,
    )
    order = Order(opened, precision, place, span, targets, limits, baseline, here)
    if dry_run:
        click.echo(json.dumps(plan_facts(order), indent=1) if as_json else dry_table(order))
        return
    target, record = build_plans(library, order, Progress(sys.stderr if as_json else sys.stdout))
    if as_json:
        click.echo(json.dumps({"folder": str(target), **asdict(record)}, indent=1))
        return
    total = sum(plan.file.bytes for plan in record.plans.values())
    click.echo(f"wrote {target} ({total / 1e6:.1f} MB)")
    for role, plan in record.plans.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in plan.facts["precisions"].items())
        click.echo(f"  {role:<7} {plan.file.bytes / 1e6:6.2f} MB  layers by type ({plan.facts['read_from']}): {kinds}")
    if here:
        click.echo(f"next: sacvit verify {opened.path} --backend {record.place.runtime} --precision {precision}")
    else:
        click.echo("not run: no GPU here. Copy the bundle to one of these GPUs and run `sacvit verify` there")


def plan_facts(order: Order) -> dict[str, object]:
    """What would be built, as JSON."""
    return {
        "folder": str(order.bundle.path / FOLDER / record_of(order, {}).folder_name()),
        "place": asdict(order.place),
        "profiles": {
            role: [{name: [list(s) for s in its] for name, its in p.items()} for p in profiles_of(order, role)]
            for role in roles_of(order)
        },
    }


def dry_table(order: Order) -> str:
    """What would be built, for people."""
    record: PlanRecord = record_of(order, {})
    lines = [f"would write {order.bundle.path / FOLDER / record.folder_name()}"]
    for role in roles_of(order):
        for number, profile in enumerate(profiles_of(order, role)):
            lines.append(f"  {role}.plan, profile {number}")
            for name, its in profile.items():
                lines.append(f"    {name:<16} " + "  ".join("x".join(map(str, shape)) for shape in its))
    return "\n".join(lines)


def _numbers(text: str, kind: Callable[[str], N], option: str) -> list[N]:
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text}: write numbers as MIN,OPT,MAX") from error
    if len(values) != 3 and not (option == "--alpha" and len(values) in (1, 2)):
        raise UsageError(f"{option} {text}: write MIN,OPT,MAX")
    return values
