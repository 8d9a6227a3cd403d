"""Measure one batch size of gpu.py: passes of cascade and DeiT in turn, and the rows that result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.benchmarks.contenders import CascadeContender
from sacvit_deploy.benchmarks.rounds import interleave
from sacvit_deploy.benchmarks.running import Run, median_steps, sum_steps
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread_of
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import OutputError
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.images.prefetch import in_batches
from sacvit_deploy.scheduler import Answer, Item, Scheduler
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.host import HostStages

FRACTIONS = (0.0, 0.23, 0.40, 0.86, 1.0)
LEAST = 128  # images per pass, so that 23 % of them is a whole number within a percent
CHECKED = 32  # images whose answers are compared with fp32 on the CPU
ENGINES = ("ee", "sac")


@dataclass(frozen=True)
class GpuRow:
    """Medians over the rounds, in ms per image. engine: the engines alone; glue: the rest's share of device time."""

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


def passing(contender: CascadeContender, items: Callable[[], list[Item]], batch: int) -> Callable[[], Run]:
    """Return a function that passes all images through a contender; latencies are the gaps between batches' answers."""

    def run() -> Run:
        images = items()
        ends, continued = [], 0
        start = time.perf_counter()
        for number, answer in enumerate(contender.answers(in_batches(images, batch), batch)):
            if answer.error is not None:
                raise OutputError(str(answer.error))
            continued += answer.stage == 2
            if number % batch == 0:
                ends.append(time.perf_counter())
        seconds = time.perf_counter() - start
        return Run(seconds, np.diff([start, *ends]).tolist(), sum_steps(images), continued)

    return run


def measure_batch(
    names: tuple[str, str, str], cascade: ContextPool, deit: ContextPool, config: ModelConfig, batch: int, rounds: int
) -> Iterator[GpuRow]:
    """Yield a row for every continue fraction at one batch size."""
    method, geometry = config.method, config.geometry
    count = num_targets(method.alpha, geometry.tokens, method.rounding)
    pixels = noise(config, batch)
    size = len(pixels)

    def items() -> list[Item]:
        return [Item(str(number), image) for number, image in enumerate(pixels)]

    answers = CascadeContender(cascade, 0.0, count).answers(in_batches(items(), batch), batch)
    probabilities = [answer.stage_one_probability for answer in answers]
    for fraction in FRACTIONS:
        eta = 1.0 if fraction == 1 else 0.0 if fraction == 0 else float(np.quantile(probabilities, fraction))
        passes = {
            "deit": passing(CascadeContender(deit, 0.0, count), items, batch),
            "cascade": passing(CascadeContender(cascade, eta, count), items, batch),
        }
        runs = interleave(passes, rounds).runs
        times = {name: [run.seconds / size * 1000 for run in own] for name, own in runs.items()}
        steps = {name: median_steps(own, size) for name, own in runs.items()}
        engines = sum(steps["cascade"].get(step, 0.0) for step in ENGINES)
        whole = sum(steps["cascade"].values())
        plain = steps["deit"]["ee"]
        yield GpuRow(
            *names,
            batch,
            runs["cascade"][0].continued / size,
            spread_of(times["deit"]),
            spread_of(times["cascade"]),
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
    """Make whole batches of noise [K,S,S,3], of varying brightness so that stage 1's probabilities differ."""
    size, side = max(batch, LEAST) // batch * batch, config.geometry.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), dtype=np.uint8)
    return (pixels * np.linspace(0.2, 1, size)[:, None, None, None]).astype(np.uint8)


def check(cascade: ContextPool, fp32: Cascade, config: ModelConfig) -> float:
    """Return the share of images whose class agrees with fp32 on the CPU, with all of them continuing."""
    method, side = config.method, config.geometry.image_size
    count = num_targets(method.alpha, config.geometry.tokens, method.rounding)
    pixels = np.random.default_rng(1).integers(0, 256, (CHECKED, side, side, 3), dtype=np.uint8)
    batch = min(CHECKED, cascade.device.max_batch or CHECKED)  # plans may take fewer images

    def batches() -> Iterator[list[Item]]:
        return in_batches([Item(str(at), image) for at, image in enumerate(pixels)], batch)

    own = CascadeContender(cascade, 1.0, count).answers(batches(), batch)
    reference = Scheduler(HostStages(fp32, count), 1.0, sac_batch=batch, patience=CHECKED).run(batches())
    same = [top_class(one) == top_class(other) for one, other in zip(own, reference, strict=True)]
    return sum(same) / len(same)


def top_class(answer: Answer) -> int:
    """Return the most probable class of an answer. Raises OutputError for an answer without probabilities."""
    if answer.probabilities is None:
        raise OutputError(str(answer.error))
    return int(np.argmax(answer.probabilities))


def line(row: GpuRow) -> str:
    """Format a row as one line of text."""
    return (
        f"{row.geometry:<6} {row.runtime:<13} {row.precision} batch {row.batch:>4} continuing {row.continuing:>4.0%}  "
        f"DeiT {row.deit_ms.median:7.3f} ms  cascade {row.cascade_ms.median:7.3f} ms  {row.ratio.median:5.2f}x "
        f"({row.ratio.low:.2f}-{row.ratio.high:.2f}), ideal {row.ideal:.2f}x; engines {row.engine_ratio:.2f}x, "
        f"glue {row.glue:.1%}; p99 per batch {row.deit_p99_ms:.2f} / {row.cascade_p99_ms:.2f} ms"
    )
