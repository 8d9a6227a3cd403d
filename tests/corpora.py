"""Any folder of images through Python and, where it is built, C++: `python -m tests.corpora FOLDER...`.

Prints how many were answered and refused, by kind of file and reason, and names those that are answered differently,
take long, or take much memory. Ends with 1 where the two runtimes differ, or Python says anything but one sentence.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from sacvit_deploy import Prediction, SACViT, SacvitError
from sacvit_deploy.images.budget import MB, Budget, Reservation
from sacvit_deploy.images.decode import SUFFIXES

ROOT = Path(__file__).parents[1]
CPP_READS = (".jpg", ".jpeg", ".png")
TOLERANCE = 1e-3  # of a probability
SLOW, LARGE = 2.0, 300 * MB  # seconds of decoding and fitting, bytes
ARGUMENTS = 200  # files of one C++ process


class Watched(Budget):
    """The default budget, which notes what was reserved last."""

    last = 0

    @contextmanager
    def reserve(self, size: int) -> Iterator[Reservation]:
        self.last = size
        with super().reserve(size) as held:
            yield held


@dataclass
class Answer:
    """What a runtime said of an image: label and stage with the probability, or an error."""

    label: str = ""
    probability: float = 0.0
    error: str = ""
    seconds: float = 0.0
    reserved: int = 0


@dataclass
class Table:
    """What was found, by kind of file."""

    answered: collections.Counter[str] = field(default_factory=collections.Counter)
    refused: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    named: dict[str, list[str]] = field(default_factory=lambda: collections.defaultdict(list))


def watch(model: SACViT) -> None:
    """Have a model note what its images reserve."""
    default = model.opened.preparer.bounds
    watched = Watched(default.memory.total, default.memory.each)
    preparer = replace(model.opened.preparer, bounds=replace(default, memory=watched))
    model.opened = replace(model.opened, preparer=preparer)


def in_python(model: SACViT, path: Path) -> Answer:
    """Classify one file; measures its preparation."""
    watched = model.opened.preparer.bounds.memory
    assert isinstance(watched, Watched)
    watched.last, start = 0, time.perf_counter()
    (result,) = model.predict_batch([path])
    seconds = time.perf_counter() - start
    if isinstance(result, Prediction):
        seconds = result.timing["decode"] + result.timing["preprocess"]
        return Answer(f"{result.label}, stage {result.stage}", result.probability, "", seconds, watched.last)
    return Answer(error=str(result), seconds=seconds, reserved=watched.last)


def in_cpp(
    program: Path, bundle: Path, paths: Sequence[Path], precision: str = "int8", seconds: float = 3600
) -> dict[Path, Answer]:
    """Classify files by the C++ program, which has so many seconds for each ARGUMENTS files."""
    (library,) = importlib.util.find_spec("onnxruntime").submodule_search_locations  # type: ignore[union-attr, misc]
    environment = {"SACVIT_ORT_LIBRARY": f"{library}/capi", **os.environ}
    found = {}
    for at in range(0, len(paths), ARGUMENTS):
        part = paths[at : at + ARGUMENTS]
        command = [program, *part, "--bundle", bundle, "--precision", precision, "--json"]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, timeout=seconds)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        if len(lines) != len(part):
            raise SystemExit(f"{program} gave {len(lines)} answers for {len(part)} images: {done.stderr[-500:]}")
        for path, line in zip(part, lines, strict=True):
            if "error" in line:
                found[path] = Answer(error=line["error"])
            else:
                found[path] = Answer(f"{line['label']}, stage {line['stage']}", line["probability"])
    return found


def difference(one: Answer, other: Answer) -> str:
    """Say how C++'s answer differs from Python's; empty where it doesn't."""
    if bool(one.error) != bool(other.error):
        return f"only C++ refuses: {other.error}" if other.error else f"only Python refuses: {one.error}"
    if one.label != other.label or abs(one.probability - other.probability) > TOLERANCE:
        return f"{one.label} {one.probability:.4f} in Python, {other.label} {other.probability:.4f} in C++"
    return ""


def run(folders: Sequence[Path], model: SACViT, program: Path | None) -> Table:
    """Classify all files of image suffixes in the folders and the folders in them."""
    table = Table()
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = [path for path in paths if path.is_file()]
    both = [path for path in paths if path.suffix.lower() in CPP_READS]
    others = {} if program is None else in_cpp(program, model.bundle.path, both)
    for path in paths:
        kind = path.suffix.lower()
        try:
            answer = in_python(model, path)
        except SacvitError as error:
            answer = Answer(error=f"{path}: not in its place: {error}")
            table.named["raised"].append(str(error))
        if answer.error:
            reason = re.sub(r"\d+", "N", answer.error.replace(str(path), "it"))
            table.refused[kind, reason[:110]] += 1
            if "\n" in answer.error or str(path) not in answer.error:
                table.named["no sentence with the file's name"].append(f"{path}: {answer.error!r}")
        else:
            table.answered[kind] += 1
        if answer.seconds > SLOW:
            table.named["slow"].append(f"{path}: {answer.seconds:.1f} s")
        if answer.reserved > LARGE:
            table.named["large"].append(f"{path}: {answer.reserved // MB} MB reserved")
        if path in others and (said := difference(answer, others[path])):
            table.named["differing"].append(f"{path}: {said}")
    return table


def main() -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--bundle", type=Path, default=ROOT / "examples/int8/model.sacvit")
    parser.add_argument("--cpp", type=Path, default=ROOT / "build/cpp/sacvit_infer", help="the C++ program")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    model = SACViT(arguments.bundle, backend="onnxruntime", precision="int8", threads=1)
    watch(model)
    program = arguments.cpp if arguments.cpp.exists() else None
    print(f"Python{'' if program else ' alone'}" + (f" and {program}" if program else " (no C++ program is built)"))
    table = run(arguments.folders, model, program)
    for kind in sorted({*table.answered, *(kind for kind, _ in table.refused)}):
        refused = sum(count for (of, _), count in table.refused.items() if of == kind)
        print(f"{kind:<6} {table.answered[kind]:>7,} answered {refused:>6,} refused")
    for (kind, reason), count in table.refused.most_common(30):
        print(f"  {count:>5} x {kind}: {reason}")
    for what, names in table.named.items():
        print(f"{what}: {len(names)}")
        for name in names[:20]:
            print(f"  {name}")
    return int(any(table.named[what] for what in ("differing", "raised", "no sentence with the file's name")))


if __name__ == "__main__":
    sys.exit(main())
