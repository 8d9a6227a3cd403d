"""Eight bits against fp32 on this CPU: cascade and plain DeiT, four contenders in one process.

All start from the same decoded 8-bit pictures and end with probabilities, round by round in turn. Weights are random
and the pictures noise, and int8 is calibrated on the same noise: that changes nothing about the work done. Each
cascade's eta is the one at which just the asked share of the pictures continues.

    python benchmarks/int8_cpu.py [--width 384 --depth 12] [--batches 1,8,32] [--fraction 0.23] [--rounds 5]
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

import numpy as np
from cascade_cpu import PICTURES, eta_for, run_cascade, run_deit

from sacvit_deploy.backends import Engine, usable_cores
from sacvit_deploy.backends.onnxruntime import OnnxRuntimeBackend
from sacvit_deploy.calibration.data import UNKNOWN, Pictures
from sacvit_deploy.calibration.feeds import gather
from sacvit_deploy.calibration.int8 import Settings, find_ranges, read_models, write_graphs
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.progress import Progress
from sacvit_deploy.export.reference import random_pictures
from sacvit_deploy.export.stages import EEStage, PlainDeiT, SACStage, empty_model
from sacvit_deploy.export.weights import write_engines
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.precision import cpu_features


@dataclass(frozen=True)
class Contender:
    """One precision: its cascade, its DeiT, and the eta that lets the asked share continue."""

    cascade: Cascade
    deit: Engine
    eta: float


@dataclass(frozen=True)
class Row:
    """One batch size. ms: medians over rounds, a picture; ratios: medians of the rounds' ratios."""

    batch: int
    ms: dict[str, float]
    int8_over_fp32_cascade: float
    int8_cascade_over_fp32_deit: float
    int8_cascade_over_int8_deit: float
    fp32_cascade_over_fp32_deit: float


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--fraction", type=float, default=0.23)
    parser.add_argument("--calibration", type=int, default=256, help="pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    options = parser.parse_args()
    config = ModelConfig(Geometry(width=options.width, depth=options.depth, heads=options.width // 64))
    images = random_pictures(PICTURES, config.geometry.image_size)
    with tempfile.TemporaryDirectory() as folder:
        found = build(config, options.threads, options.fraction, options.calibration, Path(folder))
        print(f"{found['fp32'].cascade.backend.description}; {', '.join(cpu_features())}")
        ideal = costs(config, options.alpha).ideal_speedup(options.fraction)
        size = f"width {options.width}, depth {options.depth}, alpha {options.alpha}"
        print(f"{size}, {options.fraction:.0%} continuing, FLOP-ideal {ideal:.2f}x")
        print(f"{PICTURES} pictures, medians of {options.rounds} rounds")
        print(HEADER)
        rows = []
        count = num_targets(options.alpha, config.geometry.tokens, config.method.rounding)
        for batch in map(int, options.batches.split(",")):
            rows.append(compare(found, images, batch, count, options.rounds))
            print(line(rows[-1]), flush=True)
    if options.json:
        facts = {"machine": platform.machine(), "cpu_features": cpu_features(), "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(facts, indent=1))


def build(config: ModelConfig, threads: int, fraction: float, calibration: int, folder: Path) -> dict[str, Contender]:
    """Export once, quantise the very same graphs, open all four with the same options."""
    model = empty_model(config)
    model.head.weight.data *= 20  # spreads the probabilities, so that eta can divide them
    stages = {"ee": EEStage(model), "sac": SACStage(model), "deit": PlainDeiT(model)}
    paths = {"fp32": write_engines(folder, {role: trace(stage) for role, stage in stages.items()}, "fp32")}
    backend = OnnxRuntimeBackend("cpu", threads)
    images = random_pictures(calibration, config.geometry.image_size)
    labels = np.full(len(images), UNKNOWN, dtype=np.int64)
    pictures = Pictures("pictures", "noise", labels, [str(n) for n in range(len(images))], lambda row: images[row])
    fp32 = Cascade(backend, paths["fp32"], config)
    start = time.perf_counter()
    seen = gather(fp32, pictures, eta=1.0, alphas=[config.method.alpha])
    models = read_models(paths["fp32"])
    settings = Settings(eta=1.0, alphas=(config.method.alpha,))
    paths["int8"] = write_graphs(folder, models, find_ranges(models, seen, settings, "", threads, Progress()))
    seconds = time.perf_counter() - start
    print(f"calibrated with {len(images)} pictures, all of them in stage 2, in {seconds:.0f} s")
    for precision, files in paths.items():
        size = sum(files[role].stat().st_size for role in files) / 1e6
        print(f"{precision}: {size:.1f} MB")
    found = {}
    views = random_pictures(PICTURES, config.geometry.image_size)
    for precision, files in paths.items():
        cascade = Cascade(backend, files, config)
        deit = backend.open(files["deit"], files["weights"])
        found[precision] = Contender(cascade, deit, eta_for(cascade, views, fraction))
    return found


def compare(found: dict[str, Contender], images: np.ndarray, batch: int, count: int, rounds: int) -> Row:
    """Run all in turn; the first round warms up and is not counted."""
    runs = []
    for _ in range(rounds + 1):
        run = {}
        for precision, its in found.items():
            run[f"{precision} DeiT"] = run_deit(its.deit, images, batch, its.cascade.config)
            run[f"{precision} cascade"] = run_cascade(its.cascade, images, batch, its.eta, count)[0]
        runs.append(run)
    runs = runs[1:]

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(run[slow] / run[fast] for run in runs)

    return Row(
        batch=batch,
        ms={name: 1000 * statistics.median(run[name] for run in runs) / len(images) for name in runs[0]},
        int8_over_fp32_cascade=ratio("fp32 cascade", "int8 cascade"),
        int8_cascade_over_fp32_deit=ratio("fp32 DeiT", "int8 cascade"),
        int8_cascade_over_int8_deit=ratio("int8 DeiT", "int8 cascade"),
        fp32_cascade_over_fp32_deit=ratio("fp32 DeiT", "fp32 cascade"),
    )


HEADER = (
    "        ms a picture                              int8 cascade against              fp32 cascade against\n"
    "batch   DeiT     cascade   DeiT     cascade     fp32        fp32       int8           fp32\n"
    "        fp32     fp32      int8     int8        cascade     DeiT       DeiT           DeiT"
)


def line(row: Row) -> str:
    """One row of the table."""
    ms = row.ms
    return (
        f"{row.batch:>5}   {ms['fp32 DeiT']:<8.2f} {ms['fp32 cascade']:<9.2f} {ms['int8 DeiT']:<8.2f} "
        f"{ms['int8 cascade']:<9.2f}   {row.int8_over_fp32_cascade:.2f}x       {row.int8_cascade_over_fp32_deit:.2f}x"
        f"      {row.int8_cascade_over_int8_deit:.2f}x          {row.fp32_cascade_over_fp32_deit:.2f}x"
    )


if __name__ == "__main__":
    main()
