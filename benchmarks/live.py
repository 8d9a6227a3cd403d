"""The delay of answers for a camera: a source that gives an image every 1/fps seconds, however fast it is answered.

Streams of the same images take turns, round by round; times are from when the camera had an image to its answer:

    python benchmarks/live.py [--fps 25] [--bundle BUNDLE] [--seconds 8] [--rounds 3] [--only WORD]

MB is the process's resident memory after a tenth of the last stream and at its end (Linux).
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy import Prediction, SACViT

ROOT = Path(__file__).resolve().parents[1]
BUNDLE, PICTURES = ROOT / "examples/int8/model.sacvit", ROOT / "examples/pictures"
WAYS: Mapping[str, dict[str, Any]] = {
    "whole batches of 64": {},
    "max_delay=0.1": {"max_delay": 0.1},
    "max_delay=0.1, keep latest": {"max_delay": 0.1, "keep": "latest"},
}
Frame = npt.NDArray[np.uint8]


@dataclass
class Delays:
    """What was measured of one way to stream, in all rounds: seconds to the first answer, and to each; images; MB."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    dropped: int = 0
    memory: tuple[float, float] = (0.0, 0.0)


def camera(frames: Sequence[Frame], fps: float, count: int, start: float) -> Iterator[Frame]:
    """Give `count` frames, the one numbered n not before start + n / fps (`time.monotonic`)."""
    for number, frame in enumerate(itertools.islice(itertools.cycle(frames), count)):
        time.sleep(max(0.0, start + number / fps - time.monotonic()))
        yield frame


def measure(model: SACViT, frames: Sequence[Frame], fps: float, count: int, options: dict[str, Any]) -> Delays:
    """Stream `count` frames once. Raises what an image has for an error."""
    start, delays, early = time.monotonic(), Delays(), 0.0
    with model.stream(camera(frames, fps, count, start), **options) as stream:
        for answer in stream:
            if not isinstance(answer, Prediction):
                raise answer
            delays.each.append(time.monotonic() - start - answer.position / fps)
            if not early and answer.position >= count // 10:
                early = resident()
        delays.first, delays.dropped, delays.memory = delays.each[:1], stream.dropped, (early, resident())
    return delays


def resident() -> float:
    """Return this process's resident memory, MB; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=25.0, help="images a second  [default: 25]")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each stream  [default: 8]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="the ways to stream whose names have this word")
    given = parser.parse_args()
    paths = sorted(path for path in given.pictures.iterdir() if path.suffix in (".jpg", ".png"))
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    model = SACViT(given.bundle)
    model.predict_batch(frames[:2], eta=1.0)  # both engines are open
    rows = {name: Delays() for name in WAYS if given.only in name}
    for _ in range(given.rounds):
        for name in rows:
            found = measure(model, frames, given.fps, round(given.fps * given.seconds), WAYS[name])
            rows[name].first += found.first
            rows[name].each += found.each
            rows[name].dropped += found.dropped
            rows[name].memory = found.memory
    size = "{1} x {0}".format(*frames[0].shape)
    print(f"{given.rounds} rounds of {given.seconds:g} s, {given.fps:g} frames a second of {size}; {model.precision}")
    print(f"ms from a frame to its answer {'first':>7}{'p50':>8}{'p99':>8}{'answered':>10}{'dropped':>9}{'MB':>10}")
    for name, delays in rows.items():
        first, each = 1000 * np.median(delays.first), 1000 * np.percentile(delays.each, (50, 99))
        times = f"{first:>8.1f}{each[0]:>8.1f}{each[1]:>8.1f}"
        memory = "{:.0f}, {:.0f}".format(*delays.memory)
        print(f"  {name:<27}{times}{len(delays.each):>10}{delays.dropped:>9}{memory:>10}")


if __name__ == "__main__":
    main()
