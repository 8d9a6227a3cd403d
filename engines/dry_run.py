"""Report of what a build would write, without building."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sacvit_deploy.engines.plan_folder import BuildRequest, engine_profiles, engine_roles, plan_folder


def dry_run_report(request: BuildRequest) -> dict[str, Any]:
    """Return the folder, the library and GPU, and each engine's profiles, as shapes (min, opt, max) by input."""
    return {
        "folder": str(plan_folder(request)),
        "place": asdict(request.build_target),
        "profiles": {role: engine_profiles(request, role) for role in engine_roles(request)},
    }


def dry_run_table(report: dict[str, Any]) -> str:
    """Format the report as text."""
    lines = [f"would write {report['folder']}"]
    for role, profiles in report["profiles"].items():
        for number, ranges in enumerate(profiles):
            lines.append(f"  {role}.plan, profile {number}")
            for name, shapes in ranges.items():
                lines.append(f"    {name:<16} " + "  ".join("x".join(map(str, shape)) for shape in shapes))
    return "\n".join(lines)
