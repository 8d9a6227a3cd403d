"""The delay of answers for a camera: a source that gives an image every 1/fps seconds, however fast it is answered.

Streams of the same images take turns, round by round; times are from when the camera had an image to its answer:

    python benchmarks/live.py [--fps 25] [--bundle BUNDLE] [--seconds 8] [--rounds 3]
"""

from __future__ import annotations

import argparse
import itertools
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
    """What was measured of one way to stream, in all rounds: seconds to the first answer, and to each; images."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)
    dropped: int = 0


def camera(frames: Sequence[Frame], fps: float, count: int, start: float) -> Iterator[Frame]:
    """Give `count` frames, the one numbered n not before start + n / fps (`time.monotonic`)."""
    for number, frame in enumerate(itertools.islice(itertools.cycle(frames), count)):
        time.sleep(max(0.0, start + number / fps - time.monotonic()))
        yield frame


def measure(model: SACViT, frames: Sequence[Frame], fps: float, count: int, options: dict[str, Any]) -> Delays:
    """Stream `count` frames once. Raises what an image has for an error."""
    start, delays = time.monotonic(), Delays()
    with model.stream(camera(frames, fps, count, start), **options) as stream:
        for answer in stream:
            if not isinstance(answer, Prediction):
                raise answer
            delays.each.append(time.monotonic() - start - answer.position / fps)
        delays.first, delays.dropped = delays.each[:1], stream.dropped
    return delays


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=25.0, help="images a second  [default: 25]")
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--pictures", type=Path, default=PICTURES)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each stream  [default: 8]")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    paths = sorted(path for path in given.pictures.iterdir() if path.suffix in (".jpg", ".png"))
    frames = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    model = SACViT(given.bundle)
    model.predict_batch(frames[:2], eta=1.0)  # both engines are open
    rows = {name: Delays() for name in WAYS}
    for _ in range(given.rounds):
        for name, options in WAYS.items():
            found = measure(model, frames, given.fps, round(given.fps * given.seconds), options)
            rows[name].first += found.first
            rows[name].each += found.each
            rows[name].dropped += found.dropped
    size = "{1} x {0}".format(*frames[0].shape)
    print(f"{given.rounds} rounds of {given.seconds:g} s, {given.fps:g} frames a second of {size}; {model.precision}")
    print(f"ms from a frame to its answer {'first':>7}{'p50':>8}{'p99':>8}{'answered':>10}{'dropped':>9}")
    for name, delays in rows.items():
        first, each = 1000 * np.median(delays.first), 1000 * np.percentile(delays.each, (50, 99))
        print(f"  {name:<27}{first:>8.1f}{each[0]:>8.1f}{each[1]:>8.1f}{len(delays.each):>10}{delays.dropped:>9}")


if __name__ == "__main__":
    main()
