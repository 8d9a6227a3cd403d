"""The cascade against a plain DeiT on a GPU, in the same runtime and precision. One command, no network:

    python -m sacvit_deploy.benchmarks.gpu --out gpu.json              # the runtimes that are there, DeiT-S, fp16
    python -m sacvit_deploy.benchmarks.gpu --geometry tiny --geometry base --precision fp32 --precision fp16

Random weights; both sides take decoded 8-bit pictures, upload them from pinned memory, prepare them on the device and
overlap the next upload with the work. `--work` keeps bundles and plans for the next call; --prepare makes the bundles
on a machine with torch for one without (copy the folder). **Not run on a GPU yet**; the tests run it on the processor.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from sacvit_deploy.backends.onnxruntime import OnnxRuntimeBackend
from sacvit_deploy.benchmarks.gpu_prepare import GEOMETRIES, prepare_bundle, prepare_plans
from sacvit_deploy.benchmarks.gpu_torch import torch_milliseconds
from sacvit_deploy.benchmarks.machine import fingerprint
from sacvit_deploy.benchmarks.rounds import interleave
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.decode import Pixels
from sacvit_deploy.device import Device
from sacvit_deploy.device.onnxruntime import OnnxRuntimeDevice
from sacvit_deploy.device.pool import Pool
from sacvit_deploy.errors import BackendError, OutputError, SacvitError, first_line
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.scheduler import Answer, Item, Scheduler
from sacvit_deploy.stages import HostStages

RUNTIMES = ("tensorrt", "tensorrt-rtx", "cuda", "cpu")  # the last to try the script without a GPU
FRACTIONS = (0.0, 0.23, 0.40, 0.86, 1.0)
BATCHES = (1, 8, 32, 128, 512, 1024)
LEAST = 128  # pictures a pass, so that 23 % of them is a number
CHECKED = 32  # pictures whose answers are compared with fp32 on the processor
ENGINES = ("ee", "sac")


@dataclass(frozen=True)
class Pass:
    """Once over the pictures: wall seconds, seconds by step on the device, seconds between batches' answers."""

    seconds: float
    steps: Mapping[str, float]
    latencies: Sequence[float]
    continued: int


@dataclass(frozen=True)
class Row:
    """Milliseconds a picture, medians over the rounds. engine: engines alone; glue: the rest of the device's time."""

    geometry: str
    runtime: str
    precision: str
    batch: int
    continuing: float
    deit_ms: Spread
    cascade_ms: Spread
    ratio: Spread
    ideal: float
    deit_engine_ms: float
    cascade_engine_ms: float
    engine_ratio: float
    glue: float
    deit_p99_ms: float
    cascade_p99_ms: float


def contender(pool: Pool, eta: float, count: int, items: Callable[[], list[Item]], batch: int) -> Callable[[], Pass]:
    """A pass of all pictures through a pool; eta = 0 never asks stage 2, so a plain network can stand for stage 1."""
    def run() -> Pass:
        pictures = items()
        ends, continued = [], 0
        start = time.perf_counter()
        with pool.stages(count, batch) as stages:
            scheduler = Scheduler(stages, eta, sac_batch=batch, patience=8 * batch)
            for number, answer in enumerate(scheduler.run(in_batches(pictures, batch))):
                if answer.error is not None:
                    raise OutputError(str(answer.error))
                continued += answer.stage == 2
                if number % batch == 0:
                    ends.append(time.perf_counter())
        seconds = time.perf_counter() - start
        steps: dict[str, float] = {}
        for item in pictures:
            for step, spent in item.timing.items():
                steps[step] = steps.get(step, 0.0) + spent
        return Pass(seconds, steps, np.diff([start, *ends]).tolist(), continued)

    return run


def in_batches(items: Sequence[Item], size: int) -> Iterable[Sequence[Item]]:
    """Lists of `size`."""
    return [items[at : at + size] for at in range(0, len(items), size)]


def measure(
    names: tuple[str, str, str], cascade: Pool, deit: Pool, config: ModelConfig, batch: int, rounds: int
) -> Iterator[Row]:
    """Rows for every continue fraction at one batch size."""
    method, geometry = config.method, config.geometry
    count = num_targets(method.alpha, geometry.tokens, method.rounding)
    pixels = noise(config, batch)
    size = len(pixels)

    def items() -> list[Item]:
        return [Item(str(number), picture) for number, picture in enumerate(pixels)]

    sure = certainties(cascade, count, items(), batch)
    for fraction in FRACTIONS:
        eta = 1.0 if fraction == 1 else 0.0 if fraction == 0 else float(np.quantile(sure, fraction))
        passes = {
            "deit": contender(deit, 0.0, count, items, batch),
            "cascade": contender(cascade, eta, count, items, batch),
        }
        runs = interleave(passes, rounds).runs
        times = {name: [run.seconds / size * 1000 for run in its] for name, its in runs.items()}
        middle = {name: {step: median(its, step) / size * 1000 for step in its[0].steps} for name, its in runs.items()}
        engines = sum(middle["cascade"].get(step, 0.0) for step in ENGINES)
        whole = sum(middle["cascade"].values())
        plain = middle["deit"]["ee"]
        yield Row(
            *names,
            batch,
            runs["cascade"][0].continued / size,
            spread(times["deit"]),
            spread(times["cascade"]),
            ratio(times["deit"], times["cascade"]),
            costs(config, method.alpha).ideal_speedup(runs["cascade"][0].continued / size),
            plain,
            engines,
            plain / engines,
            1 - engines / whole,
            percentile([gap * 1000 for run in runs["deit"] for gap in run.latencies], 0.99),
            percentile([gap * 1000 for run in runs["cascade"] for gap in run.latencies], 0.99),
        )


def noise(config: ModelConfig, batch: int) -> Pixels:
    """Whole batches of pictures [K,S,S,3]; differing brightness spreads what stage 1 thinks of noise."""
    size, side = max(batch, LEAST) // batch * batch, config.geometry.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    return (pixels * np.linspace(0.2, 1, size)[:, None, None, None]).astype(np.uint8)


def certainties(pool: Pool, count: int, items: list[Item], batch: int) -> list[float]:
    """What stage 1 thinks of each picture."""
    with pool.stages(count, batch) as stages:
        answers = Scheduler(stages, 0.0, sac_batch=batch, patience=8 * batch).run(in_batches(items, batch))
        return [answer.stage_one_probability for answer in answers]


def check(cascade: Pool, fp32: Cascade, config: ModelConfig) -> float:
    """Share of pictures with the same class from both stages as fp32 on the processor gives, all of them continuing."""
    method, side = config.method, config.geometry.image_size
    count = num_targets(method.alpha, config.geometry.tokens, method.rounding)
    pixels = np.random.default_rng(1).integers(0, 256, (CHECKED, side, side, 3), dtype=np.uint8)
    with cascade.stages(count, CHECKED) as stages:
        scheduler = Scheduler(stages, 1.0, sac_batch=CHECKED, patience=CHECKED)
        found: list[Answer] = list(scheduler.run([[Item(str(at), picture) for at, picture in enumerate(pixels)]]))
    wanted = Scheduler(HostStages(fp32, count), 1.0, sac_batch=CHECKED, patience=CHECKED).run(
        [[Item(str(at), picture) for at, picture in enumerate(pixels)]]
    )
    same = [best(one) == best(other) for one, other in zip(found, wanted, strict=True)]
    return sum(same) / len(same)


def best(answer: Answer) -> int:
    """The class of an answer. Raises OutputError for none."""
    if answer.probabilities is None:
        raise OutputError(str(answer.error))
    return int(np.argmax(answer.probabilities))


def median(runs: Sequence[Pass], step: str) -> float:
    """Of a step's seconds."""
    return spread([run.steps.get(step, 0.0) for run in runs]).median


def open_devices(runtime: str, work: Path, precision: str, batch: int) -> tuple[Device, Device]:
    """The cascade's engines and the DeiT's behind the same view of the picture. Raises BackendError."""
    bundle = open_bundle(work)
    files = bundle.checked_files(precision)
    whole = {"view": work / f"whole.{precision}.onnx", "ee": files["deit"]}
    if runtime in ("cuda", "cpu"):
        backend = OnnxRuntimeBackend(runtime, 2)
        return OnnxRuntimeDevice(backend, files), OnnxRuntimeDevice(backend, whole)
    from sacvit_deploy.backends.tensorrt.device import TensorRTDevice
    from sacvit_deploy.backends.tensorrt.library import load_library

    library = load_library(runtime)
    plans = prepare_plans(library, work, precision, batch)
    return TensorRTDevice(library, plans), TensorRTDevice(library, {"view": plans["whole"], "ee": plans["deit"]})


@click.command()
@click.option("--runtime", "runtimes", multiple=True, type=click.Choice(RUNTIMES), help="May be repeated.  [default: "
              "those that are there, without cpu]")
@click.option("--geometry", "geometries", multiple=True, type=click.Choice(list(GEOMETRIES)), default=["small"])
@click.option("--precision", "precisions", multiple=True, type=click.Choice(["fp32", "fp16", "int8"]), default=["fp16"])
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), default=BATCHES)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--torch", "with_torch", is_flag=True, help="PyTorch's DeiT, too, eager and compiled.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("gpu-bench"), show_default=True)
@click.option("--prepare", is_flag=True, help="Make the bundles in --work and stop; needs torch, no GPU.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON to write.")
def command(
    runtimes: tuple[str, ...],
    geometries: tuple[str, ...],
    precisions: tuple[str, ...],
    batches: tuple[int, ...],
    rounds: int,
    with_torch: bool,
    work: Path,
    prepare: bool,
    out: Path | None,
) -> None:
    """Measure, print a table, write JSON. A runtime that is not there is named with its reason."""
    rows: list[Row] = []
    absent: dict[str, str] = {}
    agreement: dict[str, float] = {}
    others: dict[str, Spread] = {}
    for geometry in geometries:
        folder = prepare_bundle(work, geometry, precisions)
        config = open_bundle(folder).manifest.config
        for precision in () if prepare else precisions:
            for runtime in runtimes or RUNTIMES[:-1]:
                try:
                    devices = open_devices(runtime, folder, precision, max(batches))
                    cascade, deit = (Pool(device, config) for device in devices)
                    fp32 = Cascade(OnnxRuntimeBackend("cpu", 2), open_bundle(folder).checked_files("fp32"), config)
                    agreement[f"{geometry} {runtime} {precision}"] = check(cascade, fp32, config)
                except BackendError as error:
                    if runtime in runtimes:
                        raise
                    absent[runtime] = str(error)
                    continue
                for batch in batches:
                    try:
                        for row in measure((geometry, runtime, precision), cascade, deit, config, batch, rounds):
                            rows.append(row)
                            click.echo(line(row))
                    except BackendError as error:  # out of memory at the largest batches, say
                        absent[f"{geometry} {runtime} {precision} batch {batch}"] = str(error)
            for batch in batches if with_torch else ():
                pixels = noise(config, batch)
                for name, compiled in (("eager", False), ("compiled", True)):
                    what = f"{geometry} PyTorch {name} {precision} batch {batch}"
                    half, device = precision == "fp16", "cpu" if runtimes == ("cpu",) else "cuda"
                    try:
                        found = torch_milliseconds(
                            work / f"{geometry}.safetensors",
                            list(pixels),
                            batch,
                            half=half,
                            compiled=compiled,
                            rounds=rounds,
                            device=device,
                        )
                    except (ImportError, RuntimeError) as error:
                        absent[what] = first_line(error)
                        continue
                    others[what] = spread(found)
                    click.echo(f"{what}: DeiT {others[what].median:.3f} ms")
    for name, why in absent.items():
        click.echo(f"not run: {name}: {why}")
    for name, share in agreement.items():
        click.echo(f"same class as fp32 on the processor, {CHECKED} pictures through both stages: {name} {share:.1%}")
    if out is not None:
        facts: dict[str, Any] = {"machine": fingerprint(), "rows": [asdict(row) for row in rows]}
        facts["pytorch_deit_ms"] = {name: asdict(its) for name, its in others.items()}
        out.write_text(json.dumps({**facts, "agreement": agreement, "not_run": absent}, indent=1) + "\n")


def line(row: Row) -> str:
    """One row for people."""
    return (
        f"{row.geometry:<6} {row.runtime:<13} {row.precision} batch {row.batch:>4} continuing {row.continuing:>4.0%}  "
        f"DeiT {row.deit_ms.median:7.3f} ms  cascade {row.cascade_ms.median:7.3f} ms  {row.ratio.median:5.2f}x "
        f"({row.ratio.low:.2f}-{row.ratio.high:.2f}), ideal {row.ideal:.2f}x; engines {row.engine_ratio:.2f}x, "
        f"glue {row.glue:.1%}; p99 a batch {row.deit_p99_ms:.2f} / {row.cascade_p99_ms:.2f} ms"
    )


def main() -> None:
    """Run as a script."""
    try:
        command()
    except SacvitError as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
