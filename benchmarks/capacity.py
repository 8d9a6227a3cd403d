"""How many replicas of each stage a rate of images needs, from the steps of a bench."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.benchmarks.report.results import BenchReport, BenchRow
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.console.tables import text_table
from sacvit_deploy.contract import Sizes, element_type, engine_contract
from sacvit_deploy.errors import UsageError
from sacvit_deploy.request import HEADER

DECODING, ONE, TWO = ("decode", "preprocess"), ("view", "ee", "gate"), ("gather", "sac", "answer")


@dataclass(frozen=True)
class StageLoad:
    """Load of one kind of replica. ms: of a replica for one of its images. rate: its images a second, all together.

    busy: replicas that would do if each worked all the time; replicas: those to have.
    """

    name: str
    ms: float
    rate: float
    busy: float
    replicas: int


@dataclass(frozen=True)
class Capacity:
    """Replicas for a rate of images. row: what was measured. request_mbit: requests to stage 2, Mbit a second.

    fill_ms: until a batch of stage 2 has come together for one of its replicas.
    """

    row: BenchRow
    rate: float
    share: float
    utilisation: float
    stage_one: StageLoad
    stage_two: StageLoad
    whole: StageLoad
    fill_ms: float | None
    request_mbit: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        loads = {name: vars(getattr(self, name)) for name in ("stage_one", "stage_two", "whole")}
        row = {name: getattr(self.row, name) for name in ("name", "scope", "batch", "threads", "continued")}
        facts = {name: getattr(self, name) for name in ("rate", "share", "utilisation", "fill_ms", "request_mbit")}
        return {**facts, **loads, "row": row}


def choose_row(report: BenchReport, share: float, **wanted: Any) -> BenchRow:
    """Return the cascade's row to count with: of the cheapest case in threads, the one whose share is nearest.

    wanted: scope, precision, batch, threads; None takes any. Raises UsageError where there is no such row.
    """
    wanted = {name: value for name, value in wanted.items() if value is not None}
    rows = [
        row
        for row in report.rows
        if row.gate is not None
        and row.continued  # of nothing that continued, stage 2 can't be told
        and {*ONE, "sac"} <= set(row.steps_ms)
        and all(getattr(row, name) == value for name, value in wanted.items())
    ]
    if not rows:
        said = "".join(f" and {name} {value}" for name, value in wanted.items())
        raise UsageError(
            f"this bench has no row of the cascade with images that continue{said}; bench with --continue, and with "
            "--scope engine,file for images that are decoded here"
        )
    # Decoding belongs to the work wherever it was measured.
    if "scope" not in wanted and (files := [row for row in rows if row.scope == "file"]):
        rows = files

    def cost(row: BenchRow) -> float:
        one, two = stage_ms(row)
        return (one + share * two) * row.threads

    def case(row: BenchRow) -> tuple[Any, ...]:
        return row.scope, row.precision, row.batch, row.threads, row.name.split()[0]

    nearest = {case(row): row for row in sorted(rows, key=lambda row: -abs((row.continued or 0.0) - share))}
    return min(nearest.values(), key=cost)


def stage_ms(row: BenchRow) -> tuple[float, float]:
    """Return the milliseconds of stage 1 for an image, and of stage 2 for an image that continues.

    Decoding is done by as many threads as the engines have. What no step has (the runtime's own) counts for stage 1.
    """
    steps = row.steps_ms
    one = sum(steps.get(name, 0.0) for name in DECODING) / row.threads + sum(steps[name] for name in ONE)
    two = sum(steps.get(name, 0.0) for name in TWO)
    assert row.continued
    return one + max(0.0, row.ms.median - one - two), two / row.continued


def capacity(row: BenchRow, bundle: Mapping[str, Any], rate: float, share: float, utilisation: float = 0.7) -> Capacity:
    """Return the replicas for `rate` images a second of which `share` continues. bundle: the bench's facts of it.

    utilisation: how busy a replica may be. Raises UsageError.
    """
    one, two = stage_ms(row)

    def load(name: str, ms: float, images: float) -> StageLoad:
        busy = images * ms / 1000
        return StageLoad(name, ms, images, busy, math.ceil(round(busy / utilisation, 6)))

    stage_one, stage_two = load("stage 1 (EE)", one, rate), load("stage 2 (SAC)", two, rate * share)
    whole = load("or both in each", one + share * two, rate)
    fill = 1000 * row.batch * stage_two.replicas / stage_two.rate if stage_two.rate else None
    size = request_bytes(ModelConfig.from_dict(bundle["config"]), row.precision, bundle["alpha"])
    mbit = 8e-6 * size * stage_two.rate
    return Capacity(row, rate, share, utilisation, stage_one, stage_two, whole, fill, mbit)


def request_bytes(config: ModelConfig, precision: str, alpha: float) -> int:
    """Return the bytes of a request to stage 2, but for the image's name: docs/wire-format.md."""
    count = config.num_targets(alpha)
    sizes, inputs = Sizes(1, count, config.geometry.tokens - count), engine_contract("sac", config).inputs
    element = np.dtype(element_type("variant", precision)).itemsize
    bytes_of = {"patches": 1, "target_features": element, "background": element}
    return HEADER.size + 4 * count + sum(size * math.prod(inputs[name].at(sizes)) for name, size in bytes_of.items())


def capacity_table(found: Capacity, runtime: str) -> str:
    """Return the report as text, with what it takes for granted."""
    row = found.row
    loads: Sequence[StageLoad] = (found.stage_one, found.stage_two, found.whole)
    table = text_table(
        [
            ("", [load.name for load in loads]),
            ("ms an image", [f"{load.ms:.2f}" for load in loads]),
            ("images/s", [f"{load.rate:.0f}" for load in loads]),
            ("busy", [f"{load.busy:.2f}" for load in loads]),
            (f"replicas at {found.utilisation:.0%}", [str(load.replicas) for load in loads]),
            ("CPU threads", [str(load.replicas * row.threads) for load in loads]),
        ]
    )
    decoded = "decoding included" if row.scope == "file" else "of images that come decoded and fitted"
    lines = [
        f"{found.rate:g} images/s, {found.share:.0%} continue",
        f"from: {row.name}, batch {row.batch}, {row.threads} threads, {decoded}; {runtime}",
        table,
        f"requests to stage 2: {found.request_mbit:.1f} Mbit/s",
    ]
    if found.fill_ms is not None:
        lines.append(f"a batch of {row.batch} for a replica of stage 2 comes together in {found.fill_ms:.0f} ms")
    lines += [
        "taken for granted: batches as full as in the bench (smaller ones cost more an image), replicas that share no",
        "cores, a network and a server that cost nothing, and a share that holds; hard images come in bursts",
    ]
    return "\n".join(lines)
