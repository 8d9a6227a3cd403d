"""One size of batch in gpu.py: passes of cascade and DeiT in turn, and the row that is said of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.benchmarks.rounds import interleave
from sacvit_deploy.benchmarks.spread import Spread, percentile, ratio, spread
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import OutputError
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.images.prefetch import in_batches
from sacvit_deploy.scheduler import Answer, Item, Scheduler
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import Stages

FRACTIONS = (0.0, 0.23, 0.40, 0.86, 1.0)
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


def contender(
    pool: ContextPool, eta: float, count: int, items: Callable[[], list[Item]], batch: int
) -> Callable[[], Pass]:
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


def measure(
    names: tuple[str, str, str], cascade: ContextPool, deit: ContextPool, config: ModelConfig, batch: int, rounds: int
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


def certainties(pool: ContextPool, count: int, items: list[Item], batch: int) -> list[float]:
    """What stage 1 thinks of each picture."""
    with pool.stages(count, batch) as stages:
        answers = Scheduler(stages, 0.0, sac_batch=batch, patience=8 * batch).run(in_batches(items, batch))
        return [answer.stage_one_probability for answer in answers]


def check(cascade: ContextPool, fp32: Cascade, config: ModelConfig) -> float:
    """Share of pictures with the same class from both stages as fp32 on the processor gives, all of them continuing."""
    method, side = config.method, config.geometry.image_size
    count = num_targets(method.alpha, config.geometry.tokens, method.rounding)
    pixels = np.random.default_rng(1).integers(0, 256, (CHECKED, side, side, 3), dtype=np.uint8)
    batch = min(CHECKED, cascade.device.most or CHECKED)  # plans may be for smaller ones

    def answers(stages: Stages) -> list[Answer]:
        items = [Item(str(at), picture) for at, picture in enumerate(pixels)]
        return list(Scheduler(stages, 1.0, sac_batch=batch, patience=CHECKED).run(in_batches(items, batch)))

    with cascade.stages(count, batch) as stages:
        found = answers(stages)
    wanted = answers(HostStages(fp32, count))
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


def line(row: Row) -> str:
    """One row for people."""
    return (
        f"{row.geometry:<6} {row.runtime:<13} {row.precision} batch {row.batch:>4} continuing {row.continuing:>4.0%}  "
        f"DeiT {row.deit_ms.median:7.3f} ms  cascade {row.cascade_ms.median:7.3f} ms  {row.ratio.median:5.2f}x "
        f"({row.ratio.low:.2f}-{row.ratio.high:.2f}), ideal {row.ideal:.2f}x; engines {row.engine_ratio:.2f}x, "
        f"glue {row.glue:.1%}; p99 a batch {row.deit_p99_ms:.2f} / {row.cascade_p99_ms:.2f} ms"
    )
