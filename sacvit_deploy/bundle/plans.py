"""plan.json: what TensorRT plans were built from, by and for, so that plans that can't run here are never loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle.bundle import PLANS, Bundle, check_file
from sacvit_deploy.bundle.digest import read_sealed, seal
from sacvit_deploy.bundle.facts import check_build
from sacvit_deploy.bundle.held import Held, hold
from sacvit_deploy.bundle.manifest import FileEntry, read_entry
from sacvit_deploy.contract import STAGES
from sacvit_deploy.errors import BundleError
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.typed import field as required
from sacvit_deploy.typed import items, mapping, only, text, whole, wrong

SCHEMA = 1
FOLDER, RECORD = PLANS, "plan.json"


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
    plans = mapping(required(data, "plans"), "plans")
    missing = [role for role in STAGES if role not in plans]
    if missing:
        raise BundleError(f"it lists no {missing[0]} plan")
    precision = required(data, "precision")
    if precision not in tuple(PRECISIONS):
        raise wrong("precision", precision, f"one of {', '.join(PRECISIONS)}")
    return PlanRecord(
        place=_place(required(data, "place")),
        precision=precision,
        batch=_span(required(data, "batch"), "batch"),
        targets=_span(required(data, "targets"), "targets"),
        plans={role: _plan(value, f"plans.{role!r:.40}") for role, value in plans.items()},
        built=text(required(data, "built"), "built"),
    )


def _place(value: Any) -> BuildTarget:
    data = only(value, ("runtime", "version", "device", "capabilities", "driver"), "place")

    def word(name: str) -> str:
        return text(required(data, name, "place."), f"place.{name}")

    return BuildTarget(
        runtime=word("runtime"),
        version=word("version"),
        device=None if required(data, "device", "place.") is None else word("device"),
        capabilities=items(required(data, "capabilities", "place."), "place.capabilities", text, 64),
        driver=None if data.get("driver") is None else word("driver"),
    )


def _size(value: Any, where: str) -> int:
    return whole(value, where, 0, 1 << 31)


def _shape(value: Any, where: str) -> tuple[int, ...]:
    return items(value, where, _size, 8)


def _shapes(value: Any, where: str) -> tuple[tuple[int, ...], ...]:
    return items(value, where, _shape, 3)


def _span(value: Any, where: str) -> tuple[int, int, int]:
    sizes = _shape(value, where)
    if len(sizes) != 3 or not 1 <= sizes[0] <= sizes[1] <= sizes[2]:
        raise wrong(where, value, "the smallest, the usual and the largest size")
    return sizes[0], sizes[1], sizes[2]


def _profile(value: Any, where: str) -> dict[str, tuple[tuple[int, ...], ...]]:
    return {name: _shapes(shapes, f"{where}.{name!r:.40}") for name, shapes in mapping(value, where).items()}


def _plan(value: Any, where: str) -> PlanFile:
    data = only(value, ("file", "onnx", "profiles", "facts"), where)
    onnx = mapping(required(data, "onnx", f"{where}."), f"{where}.onnx")
    return PlanFile(
        file=read_entry(required(data, "file", f"{where}."), f"{where}.file"),
        onnx={name: text(digest, f"{where}.onnx.{name!r:.40}", 64) for name, digest in onnx.items()},
        profiles=items(required(data, "profiles", f"{where}."), f"{where}.profiles", _profile, 64),
        facts=check_build(required(data, "facts", f"{where}."), f"{where}.facts"),
    )


def list_plans(bundle: Bundle) -> Iterator[tuple[Path, PlanRecord]]:
    """Yield every plan folder of a bundle and its record, sorted by name. Raises BundleError for a damaged one.

    Hidden folders are no plans: builds that were killed, or moved out of the way, leave them.
    """
    for path in sorted((bundle.path / FOLDER).glob(f"*/{RECORD}")):
        if not path.parent.name.startswith("."):
            yield path.parent, read_record(path.parent)


def check_plans(bundle: Bundle) -> int:
    """Check the sizes and hashes of all plans of a bundle, and return their number. Raises BundleError."""
    plans = [(folder, plan.file) for folder, record in list_plans(bundle) for plan in record.plans.values()]
    for folder, entry in plans:
        check_file(folder, entry, "build the plans again with sacvit build")
    return len(plans)


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


def find_plans(bundle: Bundle, precision: str, here: BuildTarget) -> dict[str, Held]:
    """Read a variant's plans that can run on this machine into memory, by role, checking their hashes.

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
            remedy = f"build it again with: {command}"
            return {role: hold(folder / plan.file.path, plan.file, remedy) for role, plan in record.plans.items()}
        refused.append(f"{FOLDER}/{folder.name} was {', '.join(reasons)}")
    why = "; ".join(refused) or f"it has no {precision} plans for {here.runtime}"
    raise BundleError(f"{bundle.path} can't run with {here.runtime} here: {why}; build them with: {command}")
