"""Images a second of Ray Data's actors against the own stream on the same cores.

    python benchmarks/ray_data.py [--bundle BUNDLE] [--pictures 2000] [--rounds 3] [--stage-one 2] [--stage-two 0]

In turn, round by round, at the same priority. Start-up is left out of both: the stream's model is open before, and from
Ray's time that of a run on two images is taken, in which Ray starts the same actors, which open their engines.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import ray.data

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.benchmarks.load.local_ray import local_ray
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.ray.data import classify

ROOT = Path(__file__).resolve().parents[1]
BUNDLE, PICTURES = ROOT / "examples/int8/model.sacvit", ROOT / "examples/pictures"


def stream_seconds(model: SACViT, paths: list[str]) -> float:
    """Return the seconds of the own stream, decoding included."""
    start = time.perf_counter()
    answers = list(model.stream(paths, batch_size=32))
    assert all(isinstance(answer, Prediction) for answer in answers)
    return time.perf_counter() - start


def ray_seconds(bundle: str, paths: list[str], how: dict[str, Any]) -> float:
    """Return the seconds of a pipeline from its start to its last answer."""
    start = time.perf_counter()
    data = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=max(1, len(paths) // 32))
    count = 0
    for table in classify(data, bundle, **how).iter_batches(batch_size=None, batch_format="pyarrow"):
        assert table["error"].null_count == len(table)
        count += len(table)
    assert count == len(paths)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=str(BUNDLE))
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stage-one", type=int, default=2, help="actors of one thread each")
    parser.add_argument("--stage-two", type=int, default=0, help="0: the first ones run both stages")
    options = parser.parse_args()
    cores = usable_cores()
    model = SACViT(options.bundle, threads=cores)
    files = sorted(str(path) for path in PICTURES.iterdir())
    paths = list(itertools.islice(itertools.cycle(files), options.pictures))
    how = {
        "num_cpus": 0.5 * cores / (options.stage_one + options.stage_two),  # the rest is for Ray's own tasks
        "stage_one_actors": options.stage_one,
        "stage_two_actors": options.stage_two,
        "precision": model.precision,
    }
    with local_ray(cores, 200):
        ray.data.DataContext.get_current().enable_progress_bars = False
        stream_seconds(model, paths[:64])
        ray_seconds(options.bundle, paths[:64], how)  # its files are in the cache, then
        rows = []
        for _ in range(options.rounds):
            own = stream_seconds(model, paths)
            started = ray_seconds(options.bundle, paths[:2], how)
            whole = ray_seconds(options.bundle, paths, how)
            rows.append((own, started, whole))
            rates = len(paths) / own, len(paths) / (whole - started)
            print(f"stream {rates[0]:6.1f} images/s   Ray Data {rates[1]:6.1f}   ratio {rates[1] / rates[0]:.2f}   "
                  f"start-up left out {started:.1f} of {whole:.1f} s", flush=True)  # fmt: skip
    ratios = [own / (whole - started) for own, started, whole in rows]
    print(f"{model.precision}, {len(paths)} images of {len(files)} files, {cores} cores; stream: {cores} threads; Ray: "
          f"{options.stage_one} + {options.stage_two} actors of 1 thread")  # fmt: skip
    print(f"Ray Data over the stream, median of {len(ratios)} rounds: {statistics.median(ratios):.2f} "
          f"({min(ratios):.2f} to {max(ratios):.2f}), start-up excluded")  # fmt: skip


if __name__ == "__main__":
    main()
