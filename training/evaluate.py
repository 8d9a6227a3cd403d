"""Measure a checkpoint on held-out scenes: stage 1 alone, stage 2 alone and the cascade, by size of the object.

Prints a table (or JSON) of accuracies with 95 % Wilson intervals, and the share of scenes that continue to
stage 2.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.model import SACViT
from sacvit_deploy.training.batches import normalise
from sacvit_deploy.training.classes import CLASSES
from sacvit_deploy.training.dataset import Scenes, open_scenes

SIZE_EDGES = (16.0, 28.0, 50.0, 90.0, 151.0)  # px of a 224 scene, about equal shares of a log-uniform size


@dataclass(frozen=True)
class Answers:
    """What the stages said: arrays [n]. `confidence` is stage 1's highest probability."""

    ee_right: NDArray[np.bool_]
    sac_right: NDArray[np.bool_]
    confidence: NDArray[np.float32]


class Share(NamedTuple):
    """An accuracy in per cent with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One group of scenes, in per cent; `continuing` is the continue fraction; the last two are of those scenes."""

    group: str
    scenes: int
    ee: Share
    sac: Share
    cascade: Share
    continuing: float
    ee_of_continuing: float
    sac_of_continuing: float


def wilson(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a share, in per cent."""
    if count == 0:
        return 0.0, 100.0
    share = right / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((centre + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return 100 * max(0.0, low), 100 * min(1.0, high)


@torch.no_grad()
def answer(model: SACViT, scenes: Scenes, batch: int = 64) -> Answers:
    """Run both stages in fp32 on every scene, whatever stage 1 thinks."""
    model.eval()
    parts: list[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]]] = []
    for start in range(0, len(scenes), batch):
        stop = min(start + batch, len(scenes))
        out = model(normalise(scenes.images[start:stop], model.config.preprocessing))
        labels = torch.from_numpy(scenes.labels[start:stop])
        confidence, said = out.ee.logits.softmax(1).max(1)
        parts.append(((said == labels).numpy(), (out.logits.argmax(1) == labels).numpy(), confidence.numpy()))
    ee, sac, sure = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Answers(ee, sac, sure)


def tabulate(answers: Answers, scenes: Scenes, eta: float) -> Iterator[Row]:
    """Yield a row for all scenes, then one for every size bucket and one for every group of classes."""
    sizes, groups = scenes.object_px, np.array([c.group for c in CLASSES])[scenes.labels]
    wanted = [("all", np.ones(len(scenes), bool))]
    wanted += [(f"{a:.0f}-{b:.0f} px", (sizes >= a) & (sizes < b)) for a, b in itertools.pairwise(SIZE_EDGES)]
    wanted += [(str(name), groups == name) for name in dict.fromkeys(c.group for c in CLASSES)]
    go = answers.confidence <= eta
    cascade = np.where(go, answers.sac_right, answers.ee_right)
    for name, chosen in wanted:
        count = int(chosen.sum())
        rights = [int(array[chosen].sum()) for array in (answers.ee_right, answers.sac_right, cascade)]
        ee, sac, both = (Share(100 * r / max(1, count), *wilson(r, count)) for r in rights)
        going = chosen & go
        yield Row(
            group=name,
            scenes=count,
            ee=ee,
            sac=sac,
            cascade=both,
            continuing=_percent(going, chosen),
            ee_of_continuing=_percent(answers.ee_right & going, going),
            sac_of_continuing=_percent(answers.sac_right & going, going),
        )


def _percent(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return 100 * float(part.sum()) / max(1, int(whole.sum()))


def table(rows: list[Row]) -> str:
    """Lay rows out as a Markdown table."""
    lines = [
        "| scenes | n | EE only | SAC only | cascade | continue | EE of those | SAC of those |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        cells = [f"{s.value:.1f} ({s.low:.1f}-{s.high:.1f})" for s in (r.ee, r.sac, r.cascade)]
        rest = f"{r.continuing:.1f} | {r.ee_of_continuing:.1f} | {r.sac_of_continuing:.1f}"
        lines.append(f"| {r.group} | {r.scenes} | {' | '.join(cells)} | {rest} |")
    return "\n".join(lines)


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description="Measure a checkpoint on held-out scenes; all figures in per cent.")
    parser.add_argument("--ckpt", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder written by sacvit_deploy.training.dataset")
    parser.add_argument("--eta", type=float, nargs="*", help="thresholds; the checkpoint's own by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    a = parser.parse_args()
    checkpoint = load_checkpoint(a.ckpt)
    scenes = open_scenes(a.data / "test")
    answers = answer(checkpoint.model, scenes)
    for eta in a.eta or [checkpoint.eta]:
        rows = list(tabulate(answers, scenes, eta))
        print(
            json.dumps({"eta": eta, "rows": [asdict(r) for r in rows]}) if a.json else f"\neta = {eta}\n\n{table(rows)}"
        )


if __name__ == "__main__":
    main()
