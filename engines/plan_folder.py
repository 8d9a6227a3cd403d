"""Building of all plans of one variant into a folder of the bundle, with their plan.json."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.bundle.bundle import Bundle, describe_file, open_bundle
from sacvit_deploy.bundle.plans import FOLDER, RECORD, PlanFile, PlanRecord
from sacvit_deploy.bundle.write import changing, whole_folder
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, GLUE, STAGES
from sacvit_deploy.engines.build import BuildOptions, build_plan, parse_network
from sacvit_deploy.engines.facts import network_facts, plan_facts
from sacvit_deploy.engines.profiles import InputRanges, SizeRange, batch_ranges, input_ranges
from sacvit_deploy.errors import BundleError
from sacvit_deploy.files import remove_leftovers


@dataclass(frozen=True)
class BuildRequest:
    """Plans to build. record: their plan.json, as yet without plans. here: this machine has the GPU."""

    bundle: Bundle
    record: PlanRecord
    options: BuildOptions
    baseline: bool = False
    here: bool = False

    @property
    def folder(self) -> Path:
        """Folder that the plans go into."""
        return self.bundle.path / FOLDER / self.record.folder_name()

    def profiles(self) -> dict[str, tuple[InputRanges, ...]]:
        """Return each engine's optimisation profiles. Raises BundleError for a bundle older than the glue engines."""
        files, config = self.bundle.variant(self.record.precision).files, self.bundle.manifest.config
        roles = [GLUE[0], STAGES[0], GLUE[1], STAGES[1], *([BASELINE] if self.baseline else [])]
        missing = [role for role in roles if role not in files]
        if missing:
            raise BundleError(f"{self.bundle.path} has no {missing[0]} engine; export it with this version")
        batches, targets = batch_ranges(SizeRange(*self.record.batch)), SizeRange(*self.record.targets)
        return {role: tuple(input_ranges(role, config, batch, targets) for batch in batches) for role in roles}


def build_plans(library: Library, request: BuildRequest, progress: Progress) -> PlanRecord:
    """Build the requested plans into their folder and return its plan.json; a folder already there is replaced whole.

    The bundle stays locked meanwhile, and is read again first. Raises BundleError, BackendError, ExportError, and then
    nothing is left behind.
    """
    path = request.bundle.path
    try:
        with changing(path) as folder:
            remove_leftovers(folder / FOLDER)
            return _build(library, replace(request, bundle=open_bundle(path)), progress)
    except OSError as error:
        raise BundleError(f"can't write to {path}: {error.strerror}") from error


def _build(library: Library, request: BuildRequest, progress: Progress) -> PlanRecord:
    precision = request.record.precision
    files, entries = request.bundle.checked_files(precision), request.bundle.variant(precision).files
    profiles = request.profiles()
    with whole_folder(request.folder, replace=True, mark=RECORD) as folder:
        plans = {}
        for role, ranges in profiles.items():
            start = time.perf_counter()
            with progress.step(f"{role}.plan"):
                plan = build_plan(library, files[role], ranges, request.options)
            facts = {"build_seconds": round(time.perf_counter() - start, 1)}
            facts |= network_facts(parse_network(library, files[role]))
            if request.here:
                facts |= plan_facts(library, plan)
            path = folder / f"{role}.plan"
            path.write_bytes(plan)
            # The glue points into no weights file; hashing one more does no harm.
            onnx = {entry.path: entry.sha256 for name, entry in entries.items() if name in (role, "weights")}
            plans[role] = PlanFile(describe_file(path), onnx, ranges, facts)
        built = datetime.now(timezone.utc).isoformat(timespec="seconds")
        record = replace(request.record, plans=plans, built=built)
        (folder / RECORD).write_bytes(record.to_bytes())
    return record
