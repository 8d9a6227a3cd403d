"""Building of all plans of one variant into a folder of the bundle, with their plan.json."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.bundle.bundle import Bundle, describe_file
from sacvit_deploy.bundle.plans import FOLDER, RECORD, BuildTarget, PlanFile, PlanRecord
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, GLUE, STAGES
from sacvit_deploy.engines.build import BuildOptions, build_plan, layer_precisions
from sacvit_deploy.engines.facts import engine_facts, load_plan
from sacvit_deploy.engines.network import parse_network
from sacvit_deploy.engines.profiles import InputRanges, SizeRange, batch_ranges, input_ranges
from sacvit_deploy.errors import BundleError


@dataclass(frozen=True)
class BuildRequest:
    """Plans to build: a variant, the library and GPU, ranges of B and M. here: this machine has the GPU."""

    bundle: Bundle
    precision: str
    build_target: BuildTarget
    batch: SizeRange
    targets: SizeRange
    options: BuildOptions
    baseline: bool = False
    here: bool = False


def engine_roles(request: BuildRequest) -> list[str]:
    """Return the roles of the engines to build. Raises BundleError for a bundle older than the glue engines."""
    files = request.bundle.variant(request.precision).files
    roles = [GLUE[0], STAGES[0], GLUE[1], STAGES[1], *([BASELINE] if request.baseline else [])]
    missing = [role for role in roles if role not in files]
    if missing:
        raise BundleError(f"{request.bundle.path} has no {missing[0]} engine; export it with this version")
    return roles


def engine_profiles(request: BuildRequest, role: str) -> list[InputRanges]:
    """Return the optimisation profiles of one engine."""
    config = request.bundle.manifest.config
    return [input_ranges(role, config, batch, request.targets) for batch in batch_ranges(request.batch)]


def plan_record(request: BuildRequest, plans: dict[str, PlanFile]) -> PlanRecord:
    """Make the content of plan.json."""
    b, m = request.batch, request.targets
    return PlanRecord(
        request.build_target,
        request.precision,
        (b.min, b.opt, b.max),
        (m.min, m.opt, m.max),
        plans,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def plan_folder(request: BuildRequest) -> Path:
    """Return the folder that the plans go into."""
    return request.bundle.path / FOLDER / plan_record(request, {}).folder_name()


def build_plans(library: Library, request: BuildRequest, progress: Progress) -> tuple[Path, PlanRecord]:
    """Build the requested engines into `plans/` of the bundle; a folder of the same name is replaced as a whole.

    Returns the folder and the content of its plan.json. Raises BundleError, BackendError, and then nothing is left
    behind.
    """
    files = request.bundle.checked_files(request.precision)
    entries = request.bundle.variant(request.precision).files
    roles = engine_roles(request)
    target = plan_folder(request)
    with whole_folder(target, replace=True, mark=RECORD) as folder:
        plans = {}
        for role in roles:
            profiles = engine_profiles(request, role)
            start = time.perf_counter()
            with progress.step(f"{role}.plan"):
                plan = build_plan(library, files[role], profiles, request.options)
            facts: dict[str, Any] = {"build_seconds": round(time.perf_counter() - start, 1)}
            network = parse_network(library, files[role])
            layers = network.definition.num_layers
            facts |= {"read_from": "network", "layers": layers, "precisions": layer_precisions(network)}
            if request.here:
                facts |= engine_facts(library, load_plan(library, plan))
            path = folder / f"{role}.plan"
            path.write_bytes(plan)
            # The glue points into no weights file; hashing one more does no harm.
            onnx = {entry.path: entry.sha256 for name, entry in entries.items() if name in (role, "weights")}
            plans[role] = PlanFile(describe_file(path), onnx, tuple(profiles), facts)
        record = plan_record(request, plans)
        (folder / RECORD).write_bytes(record.to_bytes())
    return target, record
