"""One call of `sacvit bench`, from its options to its report."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.choose import choose_precision
from sacvit_deploy.benchmarks.baselines.costs import SAIT_KEPT
from sacvit_deploy.benchmarks.baselines.store import default_folder, find_baselines
from sacvit_deploy.benchmarks.bench import BenchCase, run_case
from sacvit_deploy.benchmarks.images import BenchImages, load_images
from sacvit_deploy.benchmarks.lineup import AGAINST, BenchSetup, open_lineup
from sacvit_deploy.benchmarks.machine.energy import Meter, find_meters
from sacvit_deploy.benchmarks.machine.fingerprint import describe_machine, fingerprint, load
from sacvit_deploy.benchmarks.onnx_file import check_batch, read_interface
from sacvit_deploy.benchmarks.report.figures import draw_pngs
from sacvit_deploy.benchmarks.report.page import write_page
from sacvit_deploy.benchmarks.report.results import SCOPES, BenchReport, BenchRow, write_json
from sacvit_deploy.benchmarks.report.table import case_heading, case_table, notes, startup_table, step_table
from sacvit_deploy.benchmarks.startup.process import ProbeRequest, measure_startup
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.glue import check_eta
from sacvit_deploy.model import SACViT
from sacvit_deploy.precisions import PRECISIONS

FRACTIONS = (0.23, 0.40, 0.86)  # continue fractions of the paper's table 3


@dataclass(frozen=True)
class BenchJob:
    """Options of the command, and a scratch folder."""

    bundle: Path | None
    scratch: Path
    data: Path | None
    image_count: int
    scopes: Sequence[str]
    batches: Sequence[int]
    fractions: Sequence[float] | None
    etas: Sequence[float] | None
    alpha: float | None
    against: Sequence[str]
    vs: Sequence[Path]
    baselines: Path | None
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


def run_job(
    job: BenchJob, show: Callable[[str], object], say: Callable[[str], object], progress: Progress
) -> BenchReport:
    """Measure, show each case as it ends, write the files. Raises UsageError before the long work where possible."""
    check_words("--scope", job.scopes, SCOPES)
    check_words("--against", job.against, AGAINST)
    if job.png:
        load_matplotlib()
    for eta in job.etas or ():
        check_eta(eta)
    if job.scaled and "file" not in job.scopes:
        raise UsageError("--scaled is about decoding; add --scope file")
    files = [read_interface(path) for path in job.vs]
    for file in files:
        for batch in job.batches:
            check_batch(file, batch)
    bundle = open_bundle(job.bundle or find_bundle())
    config = bundle.manifest.config
    alpha = config.method.alpha if job.alpha is None else job.alpha
    costs(config, alpha)  # raises for an impossible alpha
    precisions = job.precisions or default_precisions(list(bundle.manifest.variants), job.provider)
    fractions, etas = gates(job)
    setup = BenchSetup(
        precisions=precisions,
        against=job.against,
        baselines=job.baselines or default_folder(bundle),
        alpha=alpha,
        fractions=fractions,
        etas=etas,
        kept=SAIT_KEPT if job.keep is None else job.keep,
        vs=files,
        scaled=job.scaled,
    )
    with ExitStack() as stack:
        return _measure(job, setup, find_meters(stack), show, say, progress)


def _measure(
    job: BenchJob,
    setup: BenchSetup,
    meters: Sequence[Meter],
    show: Callable[[str], object],
    say: Callable[[str], object],
    progress: Progress,
) -> BenchReport:
    bundle = open_bundle(job.bundle or find_bundle())
    config, alpha = bundle.manifest.config, setup.alpha
    machine = fingerprint()
    rows: list[BenchRow] = []
    images: BenchImages | None = None
    first: SACViT | None = None
    for threads in job.threads or (usable_cores(),):
        models = {
            precision: SACViT(
                bundle.path, backend=job.backend, provider=job.provider, precision=precision, threads=threads
            )
            for precision in setup.precisions
        }
        model = models[setup.precisions[0]]
        if images is None or first is None:
            first, images = model, load_images(model, job.data, job.image_count, job.scratch)
            for note in images.notes:
                say(f"Note: {note}")
            if "file" in job.scopes and images.paths is None:
                raise UsageError(f"--scope file needs image files, and {images.name} are none")
            show(heading(machine, model, alpha, images, [meter.name for meter in meters]))
        setup.notes.clear()
        entries = open_lineup(models, setup, images, say)
        for note in setup.notes:
            say(f"Note: {note}")
        for scope in job.scopes:
            for batch in job.batches:
                case = BenchCase(scope, batch, threads)
                with progress.count(f"{scope}, batch {batch}, {threads} threads, runs") as advance:
                    done = run_case(case, entries, model, images, alpha, job.rounds, meters, advance)
                rows += done
                show("\n".join(["", case_heading(done[0]), case_table(done), step_table(done)]))
    assert images is not None and first is not None
    requests = startup_requests(job, setup, first, images) if job.processes else []
    with progress.count("start-up and memory", len(requests) * (job.processes + 1)) as advance:
        processes = measure_startup(requests, job.processes, advance)
    if processes:
        show("\n" + startup_table(processes))
    remarks = notes(rows)
    for text in remarks:
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
        "pictures": {"name": images.name, "count": len(images.pixels), "labelled": images.labelled},
        "energy": [meter.name for meter in meters],
        "notes": [*images.notes, *setup.notes, *remarks],
    }
    report = BenchReport(facts, rows, processes)
    if job.out is not None:
        for path in write_files(report, job.out, say, png=job.png):
            show(f"wrote {path}")
    return report


def write_files(report: BenchReport, folder: Path, say: Callable[[str], object], *, png: bool) -> list[Path]:
    """Write bench.json, report.html and, if `png`, the charts as PNGs. Raises SacvitError.

    Without matplotlib the page has no charts, and `say` is told.
    """
    written = [folder / "bench.json", folder / "report.html"]
    write_json(report, written[0])
    charts = True
    try:
        load_matplotlib()
    except SacvitError as error:
        say(f"Note: report.html has tables alone: {error}")
        charts = False
    write_page(report, written[1], charts=charts)
    return written + (draw_pngs(report, folder) if png else [])


def check_words(option: str, given: Sequence[str], allowed: Collection[str]) -> None:
    """Raise UsageError for words that an option does not know, or for none."""
    unknown = [word for word in given if word not in allowed]
    if unknown or not given:
        raise UsageError(f"{option} {','.join(given)}: choose among {', '.join(allowed)}")


def default_precisions(available: Sequence[str], provider: str | None) -> list[str]:
    """Return fp32 and the variant that `auto` would take here."""
    auto, _ = choose_precision(available, provider)
    return [name for name in PRECISIONS if name in available and name in ("fp32", auto)]


def gates(job: BenchJob) -> tuple[Sequence[float], Sequence[float | None]]:
    """Return forced fractions and real gates; by default the bundle's gate with --data, else the paper's fractions."""
    if job.fractions is None and job.etas is None:
        return ((), (None,)) if job.data is not None else (FRACTIONS, ())
    return job.fractions or (), job.etas or ()


def heading(machine: dict[str, Any], model: SACViT, alpha: float, images: BenchImages, meters: Sequence[str]) -> str:
    """Describe the bundle, the runtime, the machine and the images."""
    geometry, name = model.config.geometry, model.bundle.manifest.name
    runtime = model.backend.description
    energy = ", ".join(meters) or "no counter that this process can read, so no such column"
    size = f"width {geometry.width}, depth {geometry.depth}, {geometry.image_size} px, alpha {alpha:g}"
    return (
        f"{name}: {size}; {runtime}\n"
        f"{describe_machine(machine)}; load {machine['load']}\n{images.name}\nenergy: {energy}"
    )


def startup_requests(job: BenchJob, setup: BenchSetup, model: SACViT, images: BenchImages) -> list[ProbeRequest]:
    """Request the cascade with and without stage 2, and each contender of one engine, in each precision."""
    if images.paths is None:
        return []
    threads = (job.threads or (usable_cores(),))[0]
    opening = {"backend": job.backend, "provider": job.provider, "threads": threads}
    kept = max(1, round(setup.kept * CHILDREN * model.config.geometry.tokens))
    requests: list[ProbeRequest] = []
    for precision in setup.precisions:

        def request(name: str, precision: str = precision, **more: Any) -> ProbeRequest:
            return ProbeRequest(name, precision, model.bundle.path, images.paths[0], opening, **more)  # type: ignore[index]

        requests += [request("cascade", eta=0.0), request("cascade", eta=1.0)]
        files = model.backend.files(model.bundle, precision)
        if BASELINE in setup.against:
            requests.append(request("deit", files={"engine": files[BASELINE], "weights": files.get("weights")}))
        baselines = find_baselines(setup.baselines, model.bundle, precision)
        for name in ("sait", "stvit"):
            if baselines is not None and name in setup.against and name in baselines.files:
                engine = {"engine": baselines.files[name], "weights": baselines.files["weights"]}
                requests.append(request(name, files=engine, slots=kept if name == "sait" else None))
    return requests
