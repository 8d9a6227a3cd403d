"""Mutated images of seven formats through both runtimes, in processes of their own: `python -m tests.mutations.images`.

Each image is decoded and fitted by Python and by C++, alone, and compared to the last bit; then it is classified among
others, a whole one between them, by the public classes of both, and the labels are compared. Counted are crashes,
escapes (an error that is not the documented one, or one image's error that costs another), images that take more
memory than was reserved for them, hangs, and differences but those in cpp/README.md's table. C++ reads JPEG and PNG;
the others it must refuse.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from subprocess import TimeoutExpired

import click

from sacvit_deploy.config import Preprocessing
from tests.corpora import Answer, difference, in_cpp
from tests.data import record
from tests.mutations.children import SECONDS, Child
from tests.mutations.decoding import request
from tests.mutations.image_verdicts import (
    CRASH,
    ESCAPE,
    FAILURES,
    HANG,
    KNOWN,
    NEITHER,
    PYTHON,
    SAME,
    Verdict,
    judge,
    judge_answer,
    read,
)
from tests.mutations.picture_seeds import FORMATS, seeds
from tests.mutations.pictures import SIZE, Picture, picture

ROOT = record.ROOT
CPP_BUILD = ROOT / "build/cpp"
GROUP = 120  # images that are classified together
GOOD = record.TINY_IMAGES[0]
SHOWN = 20
OUTCOMES = (SAME, NEITHER, PYTHON, KNOWN, *FAILURES)


@dataclass
class Findings:
    """Outcomes by format, the failures by the number of the image, and the known differences by their names."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {kind: Counter() for kind in FORMATS})
    failures: dict[int, Verdict] = field(default_factory=dict)
    known: Counter[str] = field(default_factory=Counter)

    def add(self, of: Picture, verdict: Verdict) -> None:
        """Count an image."""
        self.outcomes[of.kind][verdict.outcome] += 1
        if verdict.outcome in FAILURES:
            self.failures[of.number] = verdict
        if verdict.outcome == KNOWN:
            self.known[verdict.why] += 1


@dataclass(frozen=True)
class Runtimes:
    """The four programs: each runtime's decoder, which answers image by image, and its public class, for groups."""

    python: Child
    cpp: Child
    python_class: Child
    cpp_class: Path

    def decode(self, of: Picture, path: Path) -> Verdict:
        """Have both decoders take one image at the same time; judge them."""
        line = request(SIZE, of.recipe, path)
        self.cpp.send(line)
        self.python.send(line)
        return judge(of, read(self.python.receive()), read(self.cpp.receive()))

    def classify(self, paths: list[Path]) -> tuple[list[Answer], list[Answer]] | Verdict:
        """Have both public classes answer for a group; the verdict is about the whole group."""
        self.python_class.send(json.dumps([str(path) for path in paths]))
        try:
            answers = in_cpp(self.cpp_class, record.BEFORE, paths, "fp32", 2 * SECONDS)
            cpp: list[Answer] | Verdict = [answers[path] for path in paths]
        except TimeoutExpired:
            cpp = Verdict(HANG, f"C++: no answers after {2 * SECONDS:.0f} s")
        except SystemExit as error:  # too few answers
            cpp = Verdict(CRASH, f"C++: {error}")
        reply = self.python_class.receive()
        if reply.crash or reply.hang:
            return Verdict(CRASH if reply.crash else HANG, f"Python: {reply.crash or reply.hang}")
        said = json.loads(reply.text)
        odd = [said] if isinstance(said, dict) else [item for item in said if isinstance(item, dict)]
        if odd or len(said) != len(paths):
            return Verdict(ESCAPE, f"Python gave {len(said)} answers for {len(paths)}: {odd}")
        if isinstance(cpp, Verdict):
            return cpp
        return [Answer(error=item) if isinstance(item, str) else Answer(*item) for item in said], cpp


def group(runtimes: Runtimes, pictures: list[Picture], folder: Path) -> list[Verdict]:
    """Write images, decode each alone, then classify all of them with a whole one between them; judge each."""
    paths = [folder / of.name for of in pictures]
    for of, path in zip(pictures, paths, strict=True):
        path.write_bytes(of.raw)
    verdicts = [runtimes.decode(of, path) for of, path in zip(pictures, paths, strict=True)]
    at = Random(pictures[0].number).randrange(len(paths) + 1)
    answers = runtimes.classify([*paths[:at], GOOD, *paths[at:]])
    for path in paths:
        path.unlink()
    if isinstance(answers, Verdict):
        return [verdict if verdict.outcome in FAILURES else answers for verdict in verdicts]
    alone = runtimes.classify([GOOD])
    assert not isinstance(alone, Verdict), alone
    for now, before in zip(answers, alone, strict=True):
        if said := difference(now.pop(at), before[0]):
            return [Verdict(ESCAPE, f"the whole image among them is answered otherwise: {said}") for _ in pictures]
    return [judge_answer(*each) for each in zip(pictures, verdicts, *answers, strict=True)]


def run(runtimes: Runtimes, count: int, seed: int, keep: Path | None = None) -> Iterator[tuple[int, Findings]]:
    """Run so many images; yield how many are done, and all that was found so far, after each group."""
    found, made = Findings(), seeds()
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, count, GROUP):
            pictures = [picture(made, seed, number) for number in range(start, min(start + GROUP, count))]
            for of, verdict in zip(pictures, group(runtimes, pictures, Path(folder)), strict=True):
                found.add(of, verdict)
                if keep is not None and verdict.outcome in FAILURES:
                    (keep / of.name).write_bytes(of.raw)
            yield start + len(pictures), found


@contextmanager
def opened(build: Path) -> Iterator[Runtimes]:
    """Give the programs, started when they are first asked. build: the folder that C++'s are in."""
    package = find_spec("onnxruntime")
    assert package is not None and package.origin is not None
    environment = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "SACVIT_ORT_LIBRARY": str(Path(package.origin).parent / "capi"),
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        warming = []
        for kind, files in seeds().items():
            Path(folder, kind).write_bytes(files[0])
            warming.append(request(SIZE, Preprocessing(), Path(folder, kind)))
        probe, python = str(build / "tests/decode_probe"), [sys.executable, "-m"]
        yield Runtimes(
            stack.enter_context(closing(Child([*python, "tests.mutations.decoding"], environment, warming))),
            stack.enter_context(closing(Child([probe], environment, warming))),
            stack.enter_context(
                closing(Child([*python, "tests.mutations.answering", str(record.BEFORE)], environment))
            ),
            build / "sacvit_infer",
        )


def table(found: Findings) -> list[str]:
    """Return the lines of the table: a row for each format and one for all."""
    rows = {kind.lower(): outcomes for kind, outcomes in found.outcomes.items()}
    rows["all"] = sum(found.outcomes.values(), Counter())
    lines = [f"{'':<6}{'images':>8}" + "".join(f"{name:>{len(name) + 2}}" for name in OUTCOMES)]
    for name, outcomes in rows.items():
        cells = "".join(f"{outcomes[of]:>{len(of) + 2},}" for of in OUTCOMES)
        lines.append(f"{name:<6}{outcomes.total():>8,}{cells}")
    return lines


@click.command(help=__doc__)
@click.option("--count", type=click.IntRange(min=1), default=7000, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--case", "number", type=int, help="Run this image alone, and show what the decoders say.")
@click.option("--build", type=click.Path(path_type=Path), default=CPP_BUILD, help="Build folder of C++.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder for what fails.")
def main(count: int, seed: int, number: int | None, build: Path, keep: Path | None) -> None:
    """Run, and print the table."""
    if not (build / "tests/decode_probe").exists() or not (build / "sacvit_infer").exists():
        raise click.ClickException(f"there is no C++ runtime in {build}: make cpp")
    start = time.monotonic()
    with opened(build) as runtimes:
        if number is not None:
            of = picture(seeds(), seed, number)
            path = (keep or Path.cwd()) / of.name
            path.write_bytes(of.raw)
            click.echo(f"{path}: {runtimes.decode(of, path)}")
            return
        for done, found in run(runtimes, count, seed, keep):
            if done % (50 * GROUP) == 0:
                click.echo(f"{done:,} images, {len(found.failures)} failures", err=True)
    click.echo("\n".join(table(found)))
    for name, times in found.known.most_common():
        click.echo(f"documented: {times:,} x {name}")
    for at, wrong in list(found.failures.items())[:SHOWN]:
        click.echo(f"case {at}: {wrong.outcome}: {wrong.why:.400}")
    click.echo(f"seed {seed}, {time.monotonic() - start:.0f} s")
    sys.exit(bool(found.failures))


if __name__ == "__main__":
    main()
