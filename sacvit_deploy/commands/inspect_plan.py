"""`sacvit inspect` of plans, from their plan.json alone: neither the library nor the GPU is needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle.bundle import check_file
from sacvit_deploy.bundle.plans import RECORD, read_record
from sacvit_deploy.errors import BundleError


def is_plan(path: Path) -> bool:
    """Return whether a path is a plan or a folder of plans."""
    return path.suffix == ".plan" or (path / RECORD).exists()


def describe_plan(path: Path) -> dict[str, Any]:
    """Return the record of a plan folder, or its part on one plan, after checking hashes. Raises BundleError."""
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
    lines = [
        facts["folder"],
        f"  built       by {place['runtime']} {place['version']} for {gpu}; {facts['precision']}, {facts['built']}",
        f"  ranges      batch {_range(facts['batch'])}; targets {_range(facts['targets'])}",
    ]
    for plan in facts["plans"].values():
        build = plan["facts"]
        memory = f", device memory {build['device_memory'] / 1e6:.1f} MB" if "device_memory" in build else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in build["precisions"].items())
        origin = "built engine" if build["read_from"] == "engine" else "network, before the builder fused layers"
        lines += [
            f"  {plan['file']['path']:<11} {plan['file']['bytes'] / 1e6:.2f} MB, "
            f"built in {build['build_seconds']} s{memory}",
            f"    layers    {build['layers']} ({origin}), by type: {kinds}",
            f"    from      {', '.join(plan['onnx'])}",
        ]
        for number, profile in enumerate(plan["profiles"]):
            lines.append(f"    profile {number}")
            for name, shapes in profile.items():
                lines.append(f"      {name:<16} " + "  ".join("x".join(map(str, shape)) for shape in shapes))
    return "\n".join(lines)


def _range(values: tuple[int, int, int]) -> str:
    smallest, usual, largest = values
    return f"{smallest} to {largest}, fastest at {usual}"
