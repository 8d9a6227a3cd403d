"""plan.json: what TensorRT plans were built from, by and for, so that plans that can't run here are never loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle.bundle import Bundle, check_file
from sacvit_deploy.bundle.digest import read_sealed, seal
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.contract import STAGES
from sacvit_deploy.errors import BundleError

SCHEMA = 1
FOLDER, RECORD = "plans", "plan.json"


@dataclass(frozen=True)
class BuildTarget:
    """Library and GPU that a plan is built by and for, or those of this machine.

    device: the GPU's name, None for a plan compiled ahead of time for every GPU of its `capabilities`.
    """

    runtime: str  # tensorrt or tensorrt-rtx
    version: str
    device: str | None
    capabilities: tuple[str, ...]
    driver: str | None = None


@dataclass(frozen=True)
class PlanFile:
    """Plan of one engine.

    onnx: SHA-256, by name, of the files it was built from. profiles: by input, the smallest, usual and largest shape.
    facts: measurements of the build.
    """

    file: FileEntry
    onnx: Mapping[str, str]
    profiles: tuple[Mapping[str, tuple[tuple[int, ...], ...]], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanRecord:
    """Content of plan.json except the digest. batch, targets: smallest, usual and largest B and M."""

    place: BuildTarget
    precision: str
    batch: tuple[int, int, int]
    targets: tuple[int, int, int]
    plans: Mapping[str, PlanFile]
    built: str = ""

    def folder_name(self) -> str:
        """Return the plans' folder name, `<runtime>-<version>-<device>-<precision>`."""
        capabilities = "+".join(f"sm{capability.replace('.', '')}" for capability in self.place.capabilities)
        device = (self.place.device or capabilities).lower()
        plain = "".join(letter if letter.isalnum() or letter in "+." else "-" for letter in device)
        return f"{self.place.runtime}-{self.place.version}-{plain}-{self.precision}"

    def to_bytes(self) -> bytes:
        """Write the file's content: readable JSON with its own digest."""
        return seal(SCHEMA, asdict(self))


def read_record(folder: Path) -> PlanRecord:
    """Read the plan.json of a plan folder. Raises BundleError for damage, changes, and newer schemas."""
    return read_sealed(folder / RECORD, SCHEMA, _parse, "a plan folder", "build the plans anew")


def _parse(data: Mapping[str, Any]) -> PlanRecord:
    missing = [role for role in STAGES if role not in data["plans"]]
    if missing:
        raise BundleError(f"it lists no {missing[0]} plan")
    return PlanRecord(
        place=BuildTarget(**{**data["place"], "capabilities": tuple(data["place"]["capabilities"])}),
        precision=str(data["precision"]),
        batch=_span(data["batch"]),
        targets=_span(data["targets"]),
        plans={role: _plan(value) for role, value in data["plans"].items()},
        built=str(data["built"]),
    )


def _span(values: Any) -> tuple[int, int, int]:
    smallest, usual, largest = (int(value) for value in values)
    return smallest, usual, largest


def _plan(data: Mapping[str, Any]) -> PlanFile:
    profiles = tuple(
        {name: tuple(tuple(int(size) for size in shape) for shape in shapes) for name, shapes in profile.items()}
        for profile in data["profiles"]
    )
    return PlanFile(FileEntry(**data["file"]), dict(data["onnx"]), profiles, data["facts"])


def list_plans(bundle: Bundle) -> Iterator[tuple[Path, PlanRecord]]:
    """Yield every plan folder of a bundle and its record, sorted by name. Raises BundleError for a damaged one."""
    for path in sorted((bundle.path / FOLDER).glob(f"*/{RECORD}")):
        yield path.parent, read_record(path.parent)


def incompatibilities(record: PlanRecord, bundle: Bundle, here: BuildTarget) -> list[str]:
    """List the reasons why the plans of a record can't run here, without loading them; empty if they can."""
    built, reasons = record.place, []
    if (built.runtime, built.version) != (here.runtime, here.version):
        reasons.append(f"built by {built.runtime} {built.version}, here is {here.runtime} {here.version}")
    if built.device is not None and (built.device, built.capabilities) != (here.device, here.capabilities):
        reasons.append(f"built on {built.device}, here is {here.device}")
    elif not set(here.capabilities) <= set(built.capabilities):
        wanted, have = ", ".join(built.capabilities), ", ".join(here.capabilities)
        reasons.append(f"built for compute capability {wanted}, this GPU has {have}")
    entries = {entry.path: entry.sha256 for entry in bundle.entries()}
    for plan in record.plans.values():
        stale = [name for name, digest in plan.onnx.items() if entries.get(name) != digest]
        if stale:
            reasons.append(f"built from another {stale[0]} than the bundle has now")
            break
    return reasons


def find_plans(bundle: Bundle, precision: str, here: BuildTarget) -> dict[str, Path]:
    """Return the paths, by role, of a variant's plans that can run on this machine, after checking their hashes.

    Raises BundleError that says why none can, and which command builds them.
    """
    command = f"sacvit build {bundle.path} --runtime {here.runtime} --precision {precision}"
    bundle.variant(precision)
    refused = []
    for folder, record in list_plans(bundle):
        if record.precision != precision or record.place.runtime != here.runtime:
            continue
        reasons = incompatibilities(record, bundle, here)
        if not reasons:
            for plan in record.plans.values():
                check_file(folder, plan.file, f"build it again with: {command}")
            return {role: folder / plan.file.path for role, plan in record.plans.items()}
        refused.append(f"{FOLDER}/{folder.name} was {', '.join(reasons)}")
    why = "; ".join(refused) or f"it has no {precision} plans for {here.runtime}"
    raise BundleError(f"{bundle.path} can't run with {here.runtime} here: {why}; build them with: {command}")
