"""Bundles that are damaged, and what then opens them; and the list of all subjects."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from sacvit_deploy.bundle.bundle import MANIFEST, Bundle, check_file, describe_file, open_bundle
from sacvit_deploy.bundle.plans import (
    FOLDER,
    RECORD,
    BuildTarget,
    PlanFile,
    PlanRecord,
    check_plans,
    incompatibilities,
    list_plans,
)
from sacvit_deploy.commands.inspect import describe, describe_plan, inspect_table, plan_table
from sacvit_deploy.console.terminal import printable
from sacvit_deploy.verification.golden import load_golden
from tests.data import record
from tests.mutations.cases import Case, Subject
from tests.mutations.inputs import checkpoints, golden, images, labels, requests
from tests.mutations.mutate import damaged, forged, resealed, written

HERE = BuildTarget("tensorrt-rtx", "1.7.1", "NVIDIA A10", ("8.6",), "13.0")
FACTS = {"build_seconds": 1.5, "layers": 3, "read_from": "network", "precisions": {"half": 3}, "device_memory": 7}


def bundle_in(folder: Path) -> Path:
    """Copy the recorded bundle and give it plans, which nothing here loads."""
    bundle = Path(shutil.copytree(record.BEFORE, folder / "mutated.sacvit"))
    entries = open_bundle(bundle).variant("fp32").files
    place = bundle / FOLDER / "here"
    place.mkdir(parents=True)
    plans = {}
    for role in ("view", "ee", "gather", "sac"):
        (place / f"{role}.plan").write_bytes(f"the {role} plan".encode())
        onnx = {entries[name].path: entries[name].sha256 for name in (role, "weights")}
        ranges = ({"image": ((1, 3), (8, 3), (32, 3))},)
        plans[role] = PlanFile(describe_file(place / f"{role}.plan"), onnx, ranges, FACTS)
    target = BuildTarget("tensorrt-rtx", "1.7.1", None, ("8.6", "8.9"))
    told = PlanRecord(target, "fp32", (1, 8, 32), (1, 8, 15), plans, "2026-01-01T00:00:00+00:00")
    (place / RECORD).write_bytes(told.to_bytes())
    return bundle


def open_told(bundle: Path) -> Bundle:
    """Open a bundle and tell what its manifest says, as `sacvit inspect` does."""
    opened = open_bundle(bundle)
    facts = describe(opened, None)
    json.dumps(facts, allow_nan=False)
    printable(inspect_table(facts), keep="\n").encode()
    load_golden(opened.path / opened.manifest.golden.path, opened.manifest.config)
    return opened


def open_all(bundle: Path) -> None:
    """Open a bundle as `sacvit inspect` and `sacvit verify` do, up to the engines."""
    opened = open_told(bundle)
    for entry in opened.entries():
        check_file(opened.path, entry)
    check_plans(opened)


def open_plans(bundle: Path) -> None:
    """Open the plans of a bundle as `sacvit inspect` and the choice of a backend do."""
    opened = open_bundle(bundle)
    for folder, told in list_plans(opened):
        incompatibilities(told, opened, HERE)
        told.folder_name()
        facts = describe_plan(folder)
        json.dumps(facts, allow_nan=False)
        printable(plan_table(facts), keep="\n").encode()


def sealed(path: Path, check: Callable[[], object]) -> Subject:
    """A sealed file: damaged bytes, with the old digest or a new one, and forged JSON with a new one."""
    raw = path.read_bytes()
    data = json.loads(raw)

    def make(random: Random) -> Case:
        kind = random.randrange(4)
        if kind == 0:
            content = damaged(raw, random)
        elif kind == 1:
            content = resealed(damaged(raw, random))
        else:
            content = resealed(written(forged(data, random)))
        path.write_bytes(content)
        return Case(check, must_fail=kind == 0 and content != raw)

    return make


def files_of(bundle: Path) -> Subject:
    """Any file of a bundle with damaged bytes and no new seal; the file before it is put back."""
    names = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    whole = {name: (bundle / name).read_bytes() for name in names}
    last = [names[0]]

    def make(random: Random) -> Case:
        (bundle / last[0]).write_bytes(whole[last[0]])
        last[0] = random.choice(names)
        content = damaged(whole[last[0]], random)
        (bundle / last[0]).write_bytes(content)
        return Case(lambda: open_all(bundle), must_fail=content != whole[last[0]])

    return make


def subjects(folder: Path) -> dict[str, Subject]:
    """Make every subject, with its files in `folder`."""
    places = {name: folder / name for name in ("manifest", "plan", "bundle", "golden", "checkpoint", "labels")}
    for place in places.values():
        place.mkdir()
    manifest, plan, whole = (bundle_in(places[name]) for name in ("manifest", "plan", "bundle"))
    return {
        "manifest": sealed(manifest / MANIFEST, lambda: open_told(manifest)),
        "plan": sealed(plan / FOLDER / "here" / RECORD, lambda: open_plans(plan)),
        "bundle": files_of(whole),
        "image": images(),
        "golden": golden(places["golden"]),
        "checkpoint": checkpoints(places["checkpoint"]),
        "labels": labels(places["labels"]),
        "request": requests(),
    }
