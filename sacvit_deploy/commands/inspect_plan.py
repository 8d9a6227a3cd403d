"""The half of `sacvit inspect` that shows plans, from their plan.json: it needs neither the library nor the GPU."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle.bundle import check_file
from sacvit_deploy.bundle.plans import RECORD, read_record
from sacvit_deploy.errors import BundleError


def is_plan(path: Path) -> bool:
    """Whether a path is a plan or a folder of plans."""
    return path.suffix == ".plan" or (path / RECORD).exists()


def describe_plan(path: Path) -> dict[str, Any]:
    """A plan folder's record, or what it says of one plan; hashes are checked. Raises BundleError."""
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
    """The same for people."""
    place = facts["place"]
    gpu = place["device"] or f"compute capability {', '.join(place['capabilities'])}, compiled ahead of time"
    lines = [
        facts["folder"],
        f"  built       by {place['runtime']} {place['version']} for {gpu}; {facts['precision']}, {facts['built']}",
        f"  ranges      batch {_range(facts['batch'])}; targets {_range(facts['targets'])}",
    ]
    for plan in facts["plans"].values():
        its = plan["facts"]
        memory = f", device memory {its['device_memory'] / 1e6:.1f} MB" if "device_memory" in its else ""
        kinds = ", ".join(f"{count} {kind}" for kind, count in its["precisions"].items())
        origin = "built engine" if its["read_from"] == "engine" else "network, before the builder fused layers"
        lines += [
            f"  {plan['file']['path']:<11} {plan['file']['bytes'] / 1e6:.2f} MB, "
            f"built in {its['build_seconds']} s{memory}",
            f"    layers    {its['layers']} ({origin}), by type: {kinds}",
            f"    from      {', '.join(plan['onnx'])}",
        ]
        for number, profile in enumerate(plan["profiles"]):
            lines.append(f"    profile {number}")
            for name, shapes in profile.items():
                lines.append(f"      {name:<16} " + "  ".join("x".join(map(str, shape)) for shape in shapes))
    return "\n".join(lines)


def _range(values: tuple[int, int, int]) -> str:
    least, usual, greatest = values
    return f"{least} to {greatest}, fastest at {usual}"
