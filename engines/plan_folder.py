"""All plans of one variant, in a folder of the bundle beside their plan.json."""

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
from sacvit_deploy.engines.build import Limits, Profile, build_plan, precisions
from sacvit_deploy.engines.facts import load_plan, read_back
from sacvit_deploy.engines.network import parse
from sacvit_deploy.engines.profiles import Span, batch_spans, stage_shapes
from sacvit_deploy.errors import BundleError


@dataclass(frozen=True)
class Order:
    """What to build: a variant, for a place, for ranges of B and M. here: the GPU is in this machine."""

    bundle: Bundle
    precision: str
    place: BuildTarget
    batch: Span
    targets: Span
    limits: Limits
    baseline: bool = False
    here: bool = False


def roles_of(order: Order) -> list[str]:
    """The engines to build. Raises BundleError for a bundle that was exported before it had the glue's."""
    files = order.bundle.variant(order.precision).files
    roles = [GLUE[0], STAGES[0], GLUE[1], STAGES[1], *([BASELINE] if order.baseline else [])]
    missing = [role for role in roles if role not in files]
    if missing:
        raise BundleError(f"{order.bundle.path} has no {missing[0]} engine; export it with this version")
    return roles


def profiles_of(order: Order, role: str) -> list[Profile]:
    """An engine's profiles."""
    config = order.bundle.manifest.config
    return [stage_shapes(role, config, batch, order.targets) for batch in batch_spans(order.batch)]


def record_of(order: Order, plans: dict[str, PlanFile]) -> PlanRecord:
    """What plan.json will say."""
    b, m = order.batch, order.targets
    return PlanRecord(
        order.place,
        order.precision,
        (b.least, b.usual, b.greatest),
        (m.least, m.usual, m.greatest),
        plans,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def build_plans(library: Library, order: Order, say: Progress) -> tuple[Path, PlanRecord]:
    """Build every engine of an order into `plans/` of the bundle; a folder of the same name is replaced as a whole.

    Raises BundleError, BackendError, and then nothing is left behind.
    """
    files = order.bundle.checked_files(order.precision)
    entries = order.bundle.variant(order.precision).files
    roles = roles_of(order)
    target = order.bundle.path / FOLDER / record_of(order, {}).folder_name()
    with whole_folder(target, replace=True, mark=RECORD) as folder:
        plans = {}
        for role in roles:
            profiles = profiles_of(order, role)
            start = time.perf_counter()
            with say.step(f"{role}.plan"):
                plan = build_plan(library, files[role], profiles, order.limits)
            facts: dict[str, Any] = {"build_seconds": round(time.perf_counter() - start, 1)}
            network = parse(library, files[role])
            layers = network.definition.num_layers
            facts |= {"read_from": "network", "layers": layers, "precisions": precisions(network)}
            if order.here:
                facts |= read_back(library, load_plan(library, plan))
            path = folder / f"{role}.plan"
            path.write_bytes(plan)
            # The glue points into no weights file; hashing one more does no harm.
            onnx = {entry.path: entry.sha256 for name, entry in entries.items() if name in (role, "weights")}
            shapes = tuple({name: tuple(its) for name, its in profile.items()} for profile in profiles)
            plans[role] = PlanFile(describe_file(path), onnx, shapes, facts)
        record = record_of(order, plans)
        (folder / RECORD).write_bytes(record.to_bytes())
    return target, record
