"""Report of what a build would write, without building."""

from __future__ import annotations

from dataclasses import asdict

from sacvit_deploy.engines.plan_folder import BuildRequest, engine_profiles, engine_roles, plan_folder


def dry_run_dict(request: BuildRequest) -> dict[str, object]:
    """Return the JSON form: the folder, the GPU, and each engine's profiles as shapes min, opt, max by input."""
    return {
        "folder": str(plan_folder(request)),
        "place": asdict(request.build_target),
        "profiles": {
            role: [
                {name: [list(shape) for shape in shape_range] for name, shape_range in ranges.items()}
                for ranges in engine_profiles(request, role)
            ]
            for role in engine_roles(request)
        },
    }


def dry_run_table(request: BuildRequest) -> str:
    """Format the report as text; `dry_run_dict` is its JSON form."""
    lines = [f"would write {plan_folder(request)}"]
    for role in engine_roles(request):
        for number, ranges in enumerate(engine_profiles(request, role)):
            lines.append(f"  {role}.plan, profile {number}")
            for name, shape_range in ranges.items():
                lines.append(f"    {name:<16} " + "  ".join("x".join(map(str, shape)) for shape in shape_range))
    return "\n".join(lines)
