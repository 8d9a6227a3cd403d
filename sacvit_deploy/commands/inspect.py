"""`sacvit inspect`: the contents and costs of a bundle or a plan, without opening an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from sacvit_deploy.bundle.bundle import Bundle, check_file, open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.bundle.plans import RECORD, list_plans, read_record
from sacvit_deploy.commands.common import bundle_argument, json_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.tables import text_table
from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import BundleError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.images.preprocess import resized_side

FRACTIONS = (0.0, 0.23, 0.40, 0.54, 0.86, 1.0)  # the inner ones are the paper's


@click.command("inspect", cls=StrictCommand)
@bundle_argument
@click.option("--alpha", type=float, help="Count tokens and costs at this alpha.  [default: the bundle's]")
@json_option
def command(bundle: Path | None, alpha: float | None, as_json: bool) -> None:
    """Show a BUNDLE's geometry, preprocessing, token counts, MACs, sizes, parity and provenance.

    Or a plan's layers, precisions, profiles and memory: name a .plan file, or its folder in plans/ of a bundle.
    """
    if bundle is not None and (bundle.suffix == ".plan" or (bundle / RECORD).exists()):
        plan = describe_plan(bundle)
        say(json.dumps(plan, indent=1) if as_json else plan_table(plan))
        return
    opened = open_bundle(bundle or find_bundle())
    facts = describe(opened, alpha)
    say(json.dumps(facts, indent=1) if as_json else inspect_table(facts))


def describe(bundle: Bundle, alpha: float | None) -> dict[str, Any]:
    """Return everything that `table` shows, as JSON."""
    manifest = bundle.manifest
    config = manifest.config
    geometry, method = config.geometry, config.method
    alpha = method.alpha if alpha is None else alpha
    targets = config.num_targets(alpha)
    count = costs(config, alpha)
    return {
        "bundle": str(bundle.path),
        "name": manifest.name,
        "eta": manifest.eta,
        **config.to_dict(),
        "preprocessing": {  # with the fields that the manifest leaves out
            **asdict(config.preprocessing),
            "resized_to": resized_side(geometry.image_size, config.preprocessing),
        },
        "alpha": alpha,
        "tokens": {
            "low_res": geometry.tokens,
            "targets": targets,
            "background": geometry.tokens - targets,
            "stage_1": geometry.tokens + 1,
            "stage_2": CHILDREN * targets + geometry.tokens - targets + 1,
            "deit": CHILDREN * geometry.tokens + 1,
            **({} if config.window is None else {"window": config.window}),
        },
        "gmacs": {
            "ee": count.ee / 1e9,
            "sac": count.sac / 1e9,
            "deit": count.deit / 1e9,
            "cascade": {str(f): count.cascade(f) / 1e9 for f in FRACTIONS},
            "ideal_speedup": {str(f): count.ideal_speedup(f) for f in FRACTIONS},
        },
        "variants": {
            precision: {
                "files": {role: {"path": e.path, "bytes": e.bytes} for role, e in variant.files.items()},
                "bytes": sum(entry.bytes for entry in variant.files.values()),
                "parity": variant.parity,
                "eta": manifest.eta_of(precision),
                "report": variant.report,
            }
            for precision, variant in manifest.variants.items()
        },
        "plans": {folder.name: asdict(record.place) for folder, record in list_plans(bundle)},
        "provenance": manifest.provenance,
    }


def inspect_table(facts: dict[str, Any]) -> str:
    """Format the facts of `describe` as text."""
    geometry, method, tokens, gmacs = facts["geometry"], facts["method"], facts["tokens"], facts["gmacs"]
    share = f" of the window's {tokens['window']} tokens" if "window" in tokens else ""
    lines = [
        f"{facts['bundle']}",
        f"  geometry    S {geometry['image_size']}, P {geometry['patch_size']}, width {geometry['width']}, "
        f"depth {geometry['depth']}, heads {geometry['heads']}, classes {geometry['classes']}",
        f"  method      {', '.join(f'{key} {value}' for key, value in method.items() if value is not None)}",
        f"  images      {preprocessing_words(facts['preprocessing'], geometry['image_size'])}",
        f"  defaults    eta {facts['eta']}, alpha {facts['alpha']}{share}",
        f"  tokens      low-res {tokens['low_res']}, targets {tokens['targets']}, background {tokens['background']}; "
        f"stage 1 sees {tokens['stage_1']}, stage 2 {tokens['stage_2']}, a DeiT {tokens['deit']}",
        f"  GMACs       EE {gmacs['ee']:.3f}, SAC {gmacs['sac']:.3f}, DeiT {gmacs['deit']:.3f}",
        cost_table(gmacs),
    ]
    for precision, variant in facts["variants"].items():
        sizes = ", ".join(f"{entry['path']} {entry['bytes'] / 1e6:.2f} MB" for entry in variant["files"].values())
        lines += [f"  {precision}        {variant['bytes'] / 1e6:.2f} MB: {sizes}", *parity_lines(variant["parity"])]
        if variant["eta"] != facts["eta"]:
            lines.append(f"    eta       {variant['eta']:g}, this variant's default")
        lines += report_lines(variant["report"])
    lines += [f"  plans       {printable(name)}" for name in facts["plans"]]
    origin = facts["provenance"]
    checkpoint, family, exported = (
        printable(origin.get(name, "unknown")) for name in ("checkpoint", "family", "exported")
    )
    lines.append(f"  from        {checkpoint} ({family}), exported {exported}")
    lines += [f"  note        {printable(note)}" for note in origin.get("notes", [])]
    return "\n".join(lines)


def preprocessing_words(facts: Mapping[str, Any], size: int) -> str:
    """Say in one line what happens to an image before the first engine; facts: `Preprocessing` and `resized_to`."""
    side, crop = facts["resized_to"], facts["crop"]
    how = f"squashed to {side} x {side}" if facts["resize"] == "squash" else f"shorter side to {side}"
    rounded = {"floor": "rounded down", "nearest": "rounded to the nearest"}[facts["resize_rounding"]]
    resized = f"{how} ({size} / {crop:g}, {rounded}; {facts['interpolation']})"
    mean, std = (" ".join(f"{value:g}" for value in facts[name]) for name in ("mean", "std"))
    return f"{resized}, centre {size} x {size}; mean {mean}, std {std}"


def cost_table(gmacs: Mapping[str, Any]) -> str:
    """Format GMACs per image and ideal speed-up over the DeiT, a column for each continue fraction."""
    columns = [("continuing", ["  GMACs", "  ideal"])]
    for share, cost in gmacs["cascade"].items():
        columns.append((f"{float(share):>6.0%}", [f"{cost:.3f}", f"{gmacs['ideal_speedup'][share]:.2f}x"]))
    return text_table(columns)


def parity_lines(parity: Mapping[str, Any]) -> list[str]:
    """Format a variant's parity, where the manifest has it."""
    if not parity:
        return []
    same = "identical" if parity["targets_identical"] else f"overlap >= {parity['smallest_target_overlap']:.1%}"
    return [
        f"    parity    largest error {parity['largest_error']:.1e} of the largest logit "
        f"(allowed {parity['tolerance']:.0e}), targets {same}, {len(parity['cases'])} cases"
    ]


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """Format a variant's calibration and its measured accuracy, where the report has them."""
    lines = []
    if "calibration" in report:
        facts = report["calibration"]
        kept, ranges = facts["kept_in_fp32"], printable(facts["ranges"])
        lines.append(
            f"    ranges    {ranges} over {facts['pictures']} images, of which {facts['continued']} reached "
            f"stage 2, smoothing {facts['smoothing']:g}; {len(kept)} of {len(facts['damage'])} layers kept in fp32"
        )
    if "judged_on" in report:
        agreement = report["agreement"]
        drop = "no labels" if report["drop"] is None else f"at most {max(0.0, report['drop']):.2f} points lost"
        lines.append(
            f"    judged    on {printable(report['judged_on'])}: {drop}; fp32's answer in {agreement['ee']:.1%} (EE), "
            f"{agreement['sac']:.1%} (SAC), {agreement['cascade']:.1%} (at eta {report['eta']:g})"
        )
    return lines


def describe_plan(path: Path) -> dict[str, Any]:
    """Return the record of a plan folder, or its part on one plan, after checking hashes. Raises BundleError.

    Neither the library nor the GPU is needed.
    """
    folder = path.parent if path.suffix == ".plan" else path
    record = read_record(folder)
    plans = {role: plan for role, plan in record.plans.items() if path == folder or plan.file.path == path.name}
    if not plans:
        raise BundleError(f"{folder / RECORD} lists no {path.name}")
    for plan in plans.values():
        check_file(folder, plan.file, "build the plans again with sacvit build")
    facts = asdict(record)
    return {"folder": str(folder), **facts, "plans": {role: facts["plans"][role] for role in plans}}


def plan_table(facts: dict[str, Any]) -> str:
    """Format the facts of `describe_plan` as text."""
    place = facts["place"]
    gpu = place["device"] or f"compute capability {', '.join(place['capabilities'])}, compiled ahead of time"
    built = f"by {place['runtime']} {place['version']} for {gpu}; {facts['precision']}, {facts['built']}"
    lines = [
        facts["folder"],
        f"  built       {printable(built)}",
        f"  ranges      batch {_range(facts['batch'])}; targets {_range(facts['targets'])}",
    ]
    for plan in facts["plans"].values():
        build = plan["facts"]
        memory = f", device memory {build['device_memory'] / 1e6:.1f} MB" if "device_memory" in build else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in build.get("precisions", {}).items())
        origin = "built engine" if build.get("read_from") == "engine" else "network, before the builder fused layers"
        lines += [
            f"  {plan['file']['path']:<11} {plan['file']['bytes'] / 1e6:.2f} MB, "
            f"built in {build.get('build_seconds', '?')} s{memory}",
            f"    layers    {build.get('layers', '?')} ({origin}), by type: {printable(kinds)}",
            f"    from      {printable(', '.join(plan['onnx']))}",
        ]
        for number, profile in enumerate(plan["profiles"]):
            lines.append(f"    profile {number}")
            for name, shapes in profile.items():
                lines.append(f"      {printable(name):<16} " + "  ".join("x".join(map(str, shape)) for shape in shapes))
    return "\n".join(lines)


def _range(values: tuple[int, int, int]) -> str:
    smallest, usual, largest = values
    return f"{smallest} to {largest}, fastest at {usual}"
