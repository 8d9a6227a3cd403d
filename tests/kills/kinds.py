"""The commands that write: their arguments in a round, and the check of what is there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST, check_file, open_bundle
from sacvit_deploy.bundle.plans import FOLDER, list_plans
from sacvit_deploy.locks import LOCK
from tests.data import record

Files = dict[str, str]


@dataclass(frozen=True)
class Kind:
    """A command that writes: its arguments in a round, what it changes, and the check of what is there.

    check: gets the folder and returns the digests of the files that count; raises where something is broken.
    """

    name: str
    arguments: Callable[[Path, int], list[str]]
    target: str
    check: Callable[[Path], Files]


def digests(folder: Path) -> Files:
    """Return the SHA-256 of every file that is not a writer's own."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LOCK and ".partial-" not in path.relative_to(folder).as_posix()
    }


def whole_bundle(folder: Path) -> Files:
    """Check every file and plan of a bundle; returns the digests of those that it names."""
    bundle = open_bundle(folder)
    for entry in bundle.entries():
        check_file(folder, entry)
    named = {MANIFEST, *(entry.path for entry in bundle.entries())}
    for place, plans in list_plans(bundle):
        for plan in plans.plans.values():
            check_file(place, plan.file)
            named.add(f"{FOLDER}/{place.name}/{plan.file.path}")
        named.add(f"{FOLDER}/{place.name}/plan.json")
    return {name: digest for name, digest in digests(folder).items() if name in named}


def whole_run(out: Path) -> Files:
    """Read what a training keeps: its state, its checkpoint and its log, whose last line may be cut off."""
    import torch

    from sacvit_deploy.export.checkpoint import load_checkpoint

    if (out / "state.pt").exists():
        torch.load(out / "state.pt", weights_only=True)
    if (out / "model.safetensors").exists():
        load_checkpoint(str(out / "model.safetensors"))
    if (out / "log.jsonl").exists():
        for line in (out / "log.jsonl").read_text().split("\n")[:-1]:
            json.loads(line)
    return digests(out) if out.exists() else {}


def labels_of(folder: Path, number: int) -> str:
    path = folder / f"labels {number}.txt"
    path.write_text("".join(f"name {number} {index}\n" for index in range(10)))
    return str(path)


def export_(folder: Path, number: int) -> list[str]:
    words = ["export", "--ckpt", record.TINY, "--out", folder / "tiny.sacvit", "--force", "--threads", 1]
    return [*map(str, words), "--eta", f"0.{100 + number % 900}"]


def calibrate(folder: Path, number: int) -> list[str]:
    words = ["calibrate", folder / "tiny.sacvit", "--calib", folder / "images", "--pictures", 2 + number % 3]
    return [*map(str, words), "--threads", "1", "--max-drop", "100"]


def build(folder: Path, number: int) -> list[str]:
    words = ["build", folder / "tiny.sacvit", "--runtime", "tensorrt-rtx", "--compute-capability", "8.6"]
    return [*map(str, words), "--batch", f"1,1,{1 + number % 3}", "--precision", "fp32"]


def sweep(folder: Path, number: int) -> list[str]:
    words = ["sweep", folder / "tiny.sacvit", "--data", folder / "images", "--precision", "fp32", "--threads", 1]
    alpha = f"0.{3 + number % 6}"
    return [*map(str, words), "--alphas", alpha, "--target-accuracy", str(90 + number % 10), "--write"]


def relabel(folder: Path, number: int) -> list[str]:
    return ["relabel", str(folder / "tiny.sacvit"), "--labels", labels_of(folder, number)]


def pack(folder: Path, number: int) -> list[str]:
    precision = record.PRECISIONS[number % 3]
    return ["pack", str(record.BEFORE), "--precision", precision, "--out", str(folder / "tiny.sacvit"), "--force"]


def train(folder: Path, number: int) -> list[str]:
    words = ["train", "--data", folder / "images", "--out", folder / "run", "--steps", 3 + 2 * number, "--batch", 4]
    size = ["--image-size", "64", "--width", "64", "--depth", "1", "--log-every", "1", "--threads", "1", "--no-amp"]
    return [*map(str, words), *size]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("export", export_, "tiny.sacvit", whole_bundle),
        Kind("calibrate", calibrate, "tiny.sacvit", whole_bundle),
        Kind("build", build, "tiny.sacvit", whole_bundle),
        Kind("sweep", sweep, "tiny.sacvit", whole_bundle),
        Kind("relabel", relabel, "tiny.sacvit", whole_bundle),
        Kind("pack", pack, "tiny.sacvit", whole_bundle),
        Kind("train", train, "run", whole_run),
    )
}


def prepare(folder: Path) -> None:
    """Fill a folder with the recorded bundle and with labelled images."""
    shutil.copytree(record.BEFORE, folder / "tiny.sacvit")
    labels = open_bundle(record.BEFORE).labels
    for number, path in enumerate([*record.TINY_IMAGES, *record.TINY_IMAGES]):
        place = folder / "images" / labels[number % len(labels)]
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place / f"{number}{path.suffix}")
