"""DeiT against the cascade of the same geometry on this CPU: ratios, glue, and the FLOP-ideal beside them.

Both start from the same decoded 8-bit pictures and end with probabilities, in one process, round by round in turn, so
that a busy moment of the machine meets both. Weights are random and the pictures noise: that changes nothing about the
work done. The share of pictures that continue is forced through eta, by the quantile of stage 1's own probabilities, so
the real gate decides.

    python benchmarks/cascade_cpu.py [--width 384 --depth 12] [--batches 1,8,32] [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.backends import Engine, usable_cores
from sacvit_deploy.backends.onnxruntime import OnnxRuntimeBackend
from sacvit_deploy.calibration.baseline import full_view
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.decode import Pixels
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.reference import random_pictures
from sacvit_deploy.export.stages import EEStage, PlainDeiT, SACStage, empty_model, halve
from sacvit_deploy.export.weights import write_engines
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import softmax
from sacvit_deploy.scheduler import Answer, Item, Scheduler
from sacvit_deploy.stages import HostStages

PICTURES = 100  # whole per cents


@dataclass(frozen=True)
class Row:
    """One batch size and continue fraction. Times are medians over rounds, in ms a picture."""

    batch: int
    continue_fraction: float
    deit_ms: float
    cascade_ms: float
    ratio: float  # median of the rounds' ratios
    ratio_low: float  # lower and upper quartile of them
    ratio_high: float
    ideal: float
    ee_ms: float
    sac_ms: float
    glue_ms: float
    glue_share: float


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--precision", choices=("fp32", "fp16"), default="fp32")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--fractions", default="0.23,0.40,0.86")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    options = parser.parse_args()
    geometry = Geometry(
        image_size=options.image_size, width=options.width, depth=options.depth, heads=options.width // 64
    )
    config = ModelConfig(geometry)
    with tempfile.TemporaryDirectory() as folder:
        cascade, deit = build(config, options.precision, options.threads, Path(folder))
        size = f"width {geometry.width}, depth {geometry.depth}, {geometry.image_size} px, {options.precision}"
        print(f"{cascade.backend.description}; {size}, alpha {options.alpha}")
        print(f"{PICTURES} pictures, medians of {options.rounds} rounds")
        rows = []
        print(HEADER)
        for batch in map(int, options.batches.split(",")):
            for fraction in map(float, options.fractions.split(",")):
                rows.append(compare(cascade, deit, batch, fraction, options.alpha, options.rounds))
                print(line(rows[-1]), flush=True)
    if options.json:
        facts: dict[str, Any] = {
            "machine": platform.processor() or platform.machine(),
            "runtime": cascade.backend.description,
            "config": config.to_dict(),
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(facts, indent=1))


def build(config: ModelConfig, precision: str, threads: int, folder: Path) -> tuple[Cascade, Engine]:
    """Export both through the same exporter and open them with the same options."""
    model = empty_model(config)
    # Random classifiers are unsure of everything; larger weights spread the probabilities, so that eta can divide them.
    model.head.weight.data *= 20
    model = halve(model) if precision == "fp16" else model
    stages = {"ee": EEStage(model), "sac": SACStage(model), "deit": PlainDeiT(model)}
    print("exporting ...", flush=True)
    paths = write_engines(folder, {role: trace(stage) for role, stage in stages.items()}, precision)
    backend = OnnxRuntimeBackend("cpu", threads)
    return Cascade(backend, paths, config), backend.open(paths["deit"], paths["weights"])


def compare(cascade: Cascade, deit: Engine, batch: int, fraction: float, alpha: float, rounds: int) -> Row:
    """Run both in turn; the first round warms up and is not counted."""
    config = cascade.config
    images = random_pictures(PICTURES, config.geometry.image_size)
    eta = eta_for(cascade, images, fraction)
    count = num_targets(alpha, config.geometry.tokens, config.method.rounding)
    runs = []
    for _ in range(rounds + 1):
        deit_seconds = run_deit(deit, images, batch, config)
        cascade_seconds, answers = run_cascade(cascade, images, batch, eta, count)
        continued = sum(answer.stage == 2 for answer in answers)
        if continued != round(fraction * PICTURES):
            raise RuntimeError(f"{continued} pictures continued, not {fraction:.0%}")
        steps = {step: sum(a.item.timing.get(step, 0.0) for a in answers) for step in ("ee", "sac", "glue")}
        runs.append({"deit": deit_seconds, "cascade": cascade_seconds, **steps})
    runs = runs[1:]
    ms = {key: 1000 * statistics.median(run[key] for run in runs) / PICTURES for key in runs[0]}
    ratios = [run["deit"] / run["cascade"] for run in runs]
    low, _, high = statistics.quantiles(ratios, n=4)
    # Glue is all that is not an engine call, the scheduler's own work included.
    shares = [1 - (run["ee"] + run["sac"]) / run["cascade"] for run in runs]
    return Row(
        batch=batch,
        continue_fraction=fraction,
        deit_ms=ms["deit"],
        cascade_ms=ms["cascade"],
        ratio=statistics.median(ratios),
        ratio_low=low,
        ratio_high=high,
        ideal=costs(config, alpha).ideal_speedup(fraction),
        ee_ms=ms["ee"],
        sac_ms=ms["sac"],
        glue_ms=ms["cascade"] * statistics.median(shares),
        glue_share=statistics.median(shares),
    )


def run_deit(deit: Engine, images: Pixels, batch: int, config: ModelConfig) -> float:
    """Seconds from decoded pictures to probabilities."""
    start = time.perf_counter()
    for at in range(0, len(images), batch):
        softmax(deit.run({"image": full_view(images[at : at + batch], config.preprocessing)})["logits"])
    return time.perf_counter() - start


def run_cascade(
    cascade: Cascade, images: Pixels, batch: int, eta: float, count: int
) -> tuple[float, list[Answer]]:
    """The same through the cascade, with `count` targets, and its answers."""
    start = time.perf_counter()
    items = [Item(str(number), pixels) for number, pixels in enumerate(images)]
    batches = (items[at : at + batch] for at in range(0, len(images), batch))
    answers = list(Scheduler(HostStages(cascade, count), eta, sac_batch=batch, patience=8 * batch).run(batches))
    return time.perf_counter() - start, answers


def eta_for(cascade: Cascade, images: Pixels, fraction: float) -> float:
    """The eta at which just that share of the pictures continues."""
    best = np.concatenate(
        [softmax(cascade.stage_one(cascade.low_view(image[None]))["logits"]).max(axis=1) for image in images]
    )
    ordered = np.sort(best)
    at = round(fraction * len(ordered))
    return float((ordered[at - 1] + ordered[at]) / 2)


HEADER = (
    "batch  continue   DeiT ms  cascade ms    ratio (quartiles)   ideal  of ideal     EE ms  SAC ms  glue ms   glue"
)


def line(row: Row) -> str:
    """One row of the table."""
    return (
        f"{row.batch:>5}  {row.continue_fraction:>8.0%}  {row.deit_ms:>8.2f}  {row.cascade_ms:>10.2f}  "
        f"{row.ratio:>6.2f}x ({row.ratio_low:.2f}-{row.ratio_high:.2f})  {row.ideal:>6.2f}x  "
        f"{row.ratio / row.ideal:>8.0%}  "
        f"{row.ee_ms:>8.2f}{row.sac_ms:>8.2f}{row.glue_ms:>9.3f}  {row.glue_share:>5.1%}"
    )


if __name__ == "__main__":
    main()
