"""One call of `sacvit bench`, from its options to its report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from sacvit_deploy import SACViT
from sacvit_deploy.backends.choose import choose_precision
from sacvit_deploy.benchmarks.bench import SCOPES, Case, measure
from sacvit_deploy.benchmarks.energy import Meter, find_meters
from sacvit_deploy.benchmarks.field import AGAINST, Plan, open_field
from sacvit_deploy.benchmarks.foreign import check_batch, examine
from sacvit_deploy.benchmarks.machine import fingerprint, in_words, load
from sacvit_deploy.benchmarks.opponents import default_folder, find
from sacvit_deploy.benchmarks.pictures import Material, load_material
from sacvit_deploy.benchmarks.process import Asked, measure_processes
from sacvit_deploy.benchmarks.results import Process, Report, Row, write_json
from sacvit_deploy.benchmarks.table import case_heading, case_table, notes, process_table, step_table
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import SAIT_KEPT, costs
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.glue import check_eta
from sacvit_deploy.precisions import PRECISIONS

FRACTIONS = (0.23, 0.40, 0.86)  # of the paper's table 3


class Steps(Protocol):
    """Somebody who is told how far the measuring is."""

    def begin(self, text: str) -> None:
        """A case begins; an empty text ends the last one."""
        ...

    def tick(self) -> None:
        """A run has ended."""
        ...


@dataclass(frozen=True)
class Job:
    """The options of the command, by its names."""

    bundle: Path | None
    scratch: Path
    data: Path | None
    pictures: int
    scopes: Sequence[str]
    batches: Sequence[int]
    fractions: Sequence[float] | None
    etas: Sequence[float] | None
    alpha: float | None
    against: Sequence[str]
    vs: Sequence[Path]
    opponents: Path | None
    keep: float | None
    backend: str
    provider: str | None
    precisions: Sequence[str] | None
    threads: Sequence[int] | None
    rounds: int
    processes: int
    out: Path | None
    png: bool
    scaled: bool


def run_job(job: Job, show: Callable[[str], object], say: Callable[[str], object], steps: Steps) -> Report:
    """Measure, show each case as it ends, write the files. Raises UsageError before the long work wherever it can."""
    check_words("--scope", job.scopes, SCOPES)
    check_words("--against", job.against, AGAINST)
    if job.png:
        from sacvit_deploy.console.figures import load_matplotlib

        load_matplotlib()
    for eta in job.etas or ():
        check_eta(eta)
    if job.scaled and "file" not in job.scopes:
        raise UsageError("--scaled is about decoding; add --scope file")
    foreign = [examine(path) for path in job.vs]
    for one in foreign:
        for batch in job.batches:
            check_batch(one, batch)
    bundle = open_bundle(job.bundle or find_bundle())
    config = bundle.manifest.config
    alpha = config.method.alpha if job.alpha is None else job.alpha
    costs(config, alpha)  # an impossible alpha ends it here
    precisions = job.precisions or default_precisions(list(bundle.manifest.variants), job.provider)
    fractions, etas = gates(job)
    plan = Plan(
        precisions=precisions,
        against=job.against,
        opponents=job.opponents or default_folder(bundle),
        alpha=alpha,
        fractions=fractions,
        etas=etas,
        kept=SAIT_KEPT if job.keep is None else job.keep,
        vs=foreign,
        scaled=job.scaled,
    )
    with ExitStack() as stack:
        return _measure(job, plan, find_meters(stack), show, say, steps)


def _measure(
    job: Job,
    plan: Plan,
    meters: Sequence[Meter],
    show: Callable[[str], object],
    say: Callable[[str], object],
    steps: Steps,
) -> Report:
    bundle = open_bundle(job.bundle or find_bundle())
    config, alpha = bundle.manifest.config, plan.alpha
    machine = fingerprint()
    rows: list[Row] = []
    material: Material | None = None
    first: SACViT | None = None
    for threads in job.threads or (usable_cores(),):
        models = {
            precision: SACViT(
                bundle.path, backend=job.backend, provider=job.provider, precision=precision, threads=threads
            )
            for precision in plan.precisions
        }
        model = models[plan.precisions[0]]
        if material is None or first is None:
            first, material = model, load_material(model, job.data, job.pictures, job.scratch)
            for note in material.notes:
                say(f"Note: {note}")
            if "file" in job.scopes and material.paths is None:
                raise UsageError(f"--scope file needs picture files, and {material.name} are none")
            show(heading(machine, model, alpha, material, [meter.name for meter in meters]))
        plan.notes.clear()
        entries = open_field(models, plan, material, say)
        for note in plan.notes:
            say(f"Note: {note}")
        for scope in job.scopes:
            for batch in job.batches:
                case = Case(scope, batch, threads)
                steps.begin(f"{scope}, batch {batch}, {threads} threads")
                found = measure(case, entries, model, material, alpha, job.rounds, meters, steps.tick)
                steps.begin("")
                rows += found
                show("\n".join(["", case_heading(found[0]), case_table(found), step_table(found)]))
    assert material is not None and first is not None
    steps.begin("start-up and memory" if job.processes else "")
    processes = start_up(job, plan, first, material, steps) if job.processes else []
    steps.begin("")
    if processes:
        show("\n" + process_table(processes))
    told = notes(rows)
    for text in told:
        show(f"  {text}")
    facts = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine, "load_after": load()},
        "bundle": {
            "name": bundle.manifest.name,
            "config": config.to_dict(),
            "alpha": alpha,
            "gmacs": {name: value / 1e9 for name, value in vars(costs(config, alpha)).items()},
        },
        "runtime": re.sub(r", \d+ threads$", "", first.backend.description),
        "pictures": {"name": material.name, "count": len(material.images), "labelled": material.labelled},
        "energy": [meter.name for meter in meters],
        "notes": [*material.notes, *plan.notes, *told],
    }
    report = Report(facts, rows, processes)
    if job.out is not None:
        for path in write_files(report, job.out, png=job.png):
            show(f"wrote {path}")
    return report


def write_files(report: Report, folder: Path, *, png: bool) -> list[Path]:
    """bench.json, report.html and, where asked for, the charts as PNGs. Raises SacvitError."""
    from sacvit_deploy.benchmarks.page import write_page

    written = [folder / "bench.json", folder / "report.html"]
    write_json(report, written[0])
    write_page(report, written[1])
    if png:
        from sacvit_deploy.benchmarks.png import draw_all

        written += draw_all(report, folder)
    return written


def check_words(option: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise UsageError for words that an option does not know, or for none."""
    unknown = [word for word in given if word not in allowed]
    if unknown or not given:
        raise UsageError(f"{option} {','.join(given)}: choose among {', '.join(allowed)}")


def default_precisions(available: Sequence[str], provider: str | None) -> list[str]:
    """fp32, and what `auto` would take here."""
    auto, _ = choose_precision(available, provider)
    return [name for name in PRECISIONS if name in available and name in ("fp32", auto)]


def gates(job: Job) -> tuple[Sequence[float], Sequence[float | None]]:
    """Forced shares and real gates: what was asked for, else the bundle's gate on --data, else the paper's shares."""
    if job.fractions is None and job.etas is None:
        return ((), (None,)) if job.data is not None else (FRACTIONS, ())
    return job.fractions or (), job.etas or ()


def heading(machine: dict[str, Any], model: SACViT, alpha: float, material: Material, meters: Sequence[str]) -> str:
    """What is being measured, on what."""
    geometry, name = model.config.geometry, model.bundle.manifest.name
    runtime = model.backend.description
    energy = ", ".join(meters) or "no counter that this process can read, so no such column"
    size = f"width {geometry.width}, depth {geometry.depth}, {geometry.image_size} px, alpha {alpha:g}"
    return (
        f"{name}: {size}; {runtime}\n"
        f"{in_words(machine)}; load {machine['load']}\n{material.name}\nenergy: {energy}"
    )


def start_up(job: Job, plan: Plan, model: SACViT, material: Material, steps: Steps) -> list[Process]:
    """Processes of their own, for the cascade's two ways and each opponent of one engine, in each precision."""
    if material.paths is None:
        return []
    threads = (job.threads or (usable_cores(),))[0]
    opening = {"backend": job.backend, "provider": job.provider, "threads": threads}
    kept = max(1, round(plan.kept * CHILDREN * model.config.geometry.tokens))
    asked: list[Asked] = []
    for precision in plan.precisions:

        def ask(name: str, precision: str = precision, **more: Any) -> Asked:
            return Asked(name, precision, model.bundle.path, material.paths[0], opening, **more)  # type: ignore[index]

        asked += [ask("cascade", eta=0.0), ask("cascade", eta=1.0)]
        files = model.backend.files(model.bundle, precision)
        if BASELINE in plan.against:
            asked.append(ask("deit", files={"engine": files[BASELINE], "weights": files.get("weights")}))
        found = find(plan.opponents, model.bundle, precision)
        for name in ("sait", "stvit"):
            if found is not None and name in plan.against and name in found.files:
                engine = {"engine": found.files[name], "weights": found.files["weights"]}
                asked.append(ask(name, files=engine, slots=kept if name == "sait" else None))
    return measure_processes(asked, job.processes, steps.tick)
