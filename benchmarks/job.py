"""Run `sacvit bench` from its options to its report."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sacvit_deploy.backends.choose import choose_backend, choose_precision
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.benchmarks.baselines.costs import SAIT_KEPT
from sacvit_deploy.benchmarks.baselines.store import SUFFIX, find_baselines
from sacvit_deploy.benchmarks.bench import BenchCase, make_feed, run_case
from sacvit_deploy.benchmarks.images import BenchImages, load_images
from sacvit_deploy.benchmarks.lineup import AGAINST, BenchSetup, open_lineup
from sacvit_deploy.benchmarks.machine.energy import find_meters
from sacvit_deploy.benchmarks.machine.fingerprint import describe_machine, fingerprint, load_average
from sacvit_deploy.benchmarks.onnx_file import check_batch, read_interface
from sacvit_deploy.benchmarks.report.figures import draw_pngs
from sacvit_deploy.benchmarks.report.page import page
from sacvit_deploy.benchmarks.report.results import SCOPES, BenchReport, BenchRow
from sacvit_deploy.benchmarks.report.table import case_text, notes, startup_columns
from sacvit_deploy.benchmarks.startup.process import ProbeRequest, measure_startup
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.tables import text_table
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.glue import check_eta
from sacvit_deploy.model import SACViT
from sacvit_deploy.precisions import PRECISIONS

FRACTIONS = (0.23, 0.40, 0.86)  # continue fractions of the paper's table 3
SOFTWARE = "a software device"  # in a backend's description; `device_title` in backends/onnxruntime


def prepare(
    bundle: Path | None,
    *,
    threads: Sequence[int] | None,
    precisions: Sequence[str] | None,
    alpha: float | None,
    fractions: Sequence[float] | None,
    etas: Sequence[float] | None,
    vs: Sequence[Path],
    baselines: Path | None,
    keep: float | None,
    **given: Any,
) -> BenchSetup:
    """Check the command's options and fill in its defaults; None: the default. given: the other fields of a BenchSetup.

    Raises UsageError before the long work where possible.
    """
    check_words("--scope", given["scopes"], SCOPES)
    check_words("--against", given["against"], AGAINST)
    if given["png"]:
        if given["out"] is None:
            raise UsageError("--png needs a folder to write into; name one with --out")
        load_matplotlib()
    for eta in etas or ():
        check_eta(eta)
    if given["scaled"] and "file" not in given["scopes"]:
        raise UsageError("--scaled is about decoding; add --scope file")
    files = [read_interface(path) for path in vs]
    for file in files:
        for batch in given["batches"]:
            check_batch(file, batch)
    opened = open_bundle(bundle or find_bundle())
    if fractions is None and etas is None and given["data"] is None:
        fractions = FRACTIONS
    if given["backend"] == "auto" and given["device"] is None:
        given["backend"], given["device"], _ = choose_backend(opened)  # the same for all that will be opened
    if not precisions:
        name, device = given["backend"], given["device"]
        available = open_backend(name, device=device).precisions(opened)
        auto, _ = choose_precision(available, device if name in ("auto", "onnxruntime") else name)
        precisions = [name for name in PRECISIONS if name in available and name in ("fp32", auto)]
    setup = BenchSetup(
        bundle=opened,
        threads=threads or (usable_cores(),),
        precisions=precisions,
        alpha=opened.manifest.config.method.alpha if alpha is None else alpha,
        fractions=fractions or (),
        etas=(None,) if fractions is None and etas is None else etas or (),
        vs=files,
        baselines=baselines or opened.path.with_suffix(SUFFIX),
        kept=SAIT_KEPT if keep is None else keep,
        **given,
    )
    costs(opened.manifest.config, setup.alpha)  # raises for an impossible alpha
    return setup


def check_words(option: str, given: Sequence[str], allowed: Collection[str]) -> None:
    """Raise UsageError for words that an option does not know, or for none."""
    if not given or not set(given) <= set(allowed):
        raise UsageError(f"{option} {','.join(given)}: choose among {', '.join(allowed)}")


def run_bench(
    setup: BenchSetup, show: Callable[[str], object], say: Callable[[str], object], progress: Progress
) -> BenchReport:
    """Measure, show each case as it ends, write the files. say: takes notes."""
    with ExitStack() as stack:
        meters = find_meters(stack)
        machine = fingerprint()
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="sacvit-bench-")))
        models = open_models(setup, setup.threads[0])
        first = models[setup.precisions[0]]
        images = load_images(first, setup.data, setup.image_count, scratch)
        about = list(images.notes)
        if SOFTWARE in first.backend.description:
            about.append(f"these are the times of {SOFTWARE}, a GPU that the CPU plays; they say nothing of a GPU's")
        for note in about:
            say(f"Note: {note}")
        if setup.scaled and first.pool is not None:
            raise UsageError(f"--scaled is for the CPU; on {first.backend.description} every image goes up in full")
        if first.opened.others:
            raise UsageError(f"a benchmark is of one device, not of {setup.device}: the baselines have no other")
        if "file" in setup.scopes and images.paths is None:
            raise UsageError(f"--scope file needs image files, and {images.name} are none")
        show(heading(setup, machine, first, images.name, [meter.name for meter in meters]))
        rows: list[BenchRow] = []
        macs = costs(first.config, setup.alpha)
        for threads in setup.threads:
            if threads != setup.threads[0]:
                models = open_models(setup, threads)
            entries, missing = open_lineup(models, setup, images, say)
            for note in missing:
                say(f"Note: {note}")
            for scope, batch in itertools.product(setup.scopes, setup.batches):
                case = BenchCase(scope, batch, threads)
                model = models[setup.precisions[0]]
                with progress.count(f"{scope}, batch {batch}, {threads} threads, runs") as advance:
                    feed_of = partial(make_feed, case, model, images)
                    done = run_case(case, entries, feed_of, macs, setup.rounds, meters, advance)
                rows += done
                show("\n" + case_text(done))
        requests = startup_requests(setup, first, images) if setup.processes else []
        with progress.count("start-up and memory", len(requests) * (setup.processes + 1)) as advance:
            processes = measure_startup(requests, setup.processes, advance)
    if processes:
        show("\n" + text_table(startup_columns(processes)))
    remarks = notes(rows)
    for text in remarks:
        show(f"  {text}")
    config, alpha = first.config, setup.alpha
    facts = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {**machine, "load_after": load_average()},
        "bundle": {
            "name": setup.bundle.manifest.name,
            "config": config.to_dict(),
            "alpha": alpha,
            "gmacs": {name: value / 1e9 for name, value in vars(costs(config, alpha)).items()},
        },
        "runtime": re.sub(r", \d+ threads$", "", first.backend.description),
        "pictures": {"name": images.name, "count": len(images.pixels), "labelled": images.labels is not None},
        "energy": [meter.name for meter in meters],
        "notes": [*about, *missing, *remarks],
    }
    report = BenchReport(facts, rows, processes)
    if setup.out is not None:
        for path in write_files(report, setup.out, say, png=setup.png):
            show(f"wrote {path}")
    return report


def open_models(setup: BenchSetup, threads: int) -> dict[str, SACViT]:
    """Open the bundle in each precision."""
    open_model = partial(SACViT, setup.bundle.path, backend=setup.backend, device=setup.device, threads=threads)
    return {name: open_model(precision=name) for name in setup.precisions}


def write_files(report: BenchReport, folder: Path, say: Callable[[str], object], *, png: bool) -> list[Path]:
    """Write bench.json, report.html and, if `png`, the charts as PNGs. Raises SacvitError.

    Without matplotlib the page has no charts, and `say` is told.
    """
    data, html = folder / "bench.json", folder / "report.html"
    charts = True
    try:
        load_matplotlib()
    except SacvitError as error:
        say(f"Note: report.html has tables alone: {error}")
        charts = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        html.write_text(page(report, charts=charts), encoding="utf-8")
    except OSError as error:
        raise SacvitError(f"can't write {error.filename or folder}: {error.strerror or error}") from error
    return [data, html, *(draw_pngs(report, folder) if png else [])]


def heading(setup: BenchSetup, machine: dict[str, Any], model: SACViT, images: str, meters: Sequence[str]) -> str:
    """Describe the bundle, the runtime, the machine and the images."""
    geometry = model.config.geometry
    size = f"width {geometry.width}, depth {geometry.depth}, {geometry.image_size} px, alpha {setup.alpha:g}"
    energy = ", ".join(meters) or "no counter that this process can read, so no such column"
    return (
        f"{setup.bundle.manifest.name}: {size}; {model.backend.description}\n"
        f"{describe_machine(machine)}; load {machine['load']}\n{images}\nenergy: {energy}"
    )


def startup_requests(setup: BenchSetup, model: SACViT, images: BenchImages) -> list[ProbeRequest]:
    """Request the cascade with and without stage 2, and each contender of one engine, in each precision."""
    if images.paths is None:
        return []
    requests: list[ProbeRequest] = []
    opening = {"backend": setup.backend, "device": setup.device, "threads": setup.threads[0]}
    kept = max(1, round(setup.kept * CHILDREN * model.config.geometry.tokens))
    for precision in setup.precisions:
        request = partial(ProbeRequest, setup.bundle.path, images.paths[0], opening, precision)
        requests += [request("cascade, exits", eta=0.0), request("cascade, continues", eta=1.0)]
        files = {role: file.path for role, file in model.backend.files(model.bundle, precision).items()}
        if BASELINE in setup.against:
            requests.append(request("deit", files={"engine": files[BASELINE], "weights": files.get("weights")}))
        baselines = find_baselines(setup.baselines, model.bundle, precision)
        for name in ("sait", "stvit"):
            if baselines is not None and name in setup.against and name in baselines.files:
                engine = {"engine": baselines.files[name], "weights": baselines.files["weights"]}
                requests.append(request(name, files=engine, slots=kept if name == "sait" else None))
    return requests
