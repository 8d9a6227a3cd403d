"""Training curves drawn from a run's log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sacvit_deploy.training.recipe import PHASES

PANELS = {
    "loss": ("loss",),
    "accuracy": ("ee_accuracy", "sac_accuracy", "held_ee", "held_sac"),
    "learning rate": ("rate",),
}


def plot_log(log: Path) -> Path | None:
    """Draw a log's curves into a PNG beside it; None without matplotlib or with fewer than two log lines."""
    try:
        import matplotlib.figure
    except ImportError:
        return None
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    if len(lines) < 2:
        return None
    seen = images_seen(lines)
    figure = matplotlib.figure.Figure(figsize=(8, 9), layout="constrained")
    for axes, (panel, names) in zip(figure.subplots(len(PANELS), sharex=True), PANELS.items(), strict=True):
        for name in names:
            points = [(x, line[name]) for x, line in zip(seen, lines, strict=True) if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, marker="o" if name.startswith("held") else None)
        axes.set_ylabel(panel)
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend()
    axes.set_xlabel("thousand images seen")
    target = log.with_suffix(".png")
    figure.savefig(target, dpi=100)
    return target


def images_seen(lines: list[dict[str, Any]]) -> list[float]:
    """Return the thousands of images seen at each line of a log, counted over both phases."""
    before = max((line["pictures"] for line in lines if line["phase"] == PHASES[0]), default=0)
    return [(line["pictures"] + before * (line["phase"] != PHASES[0])) / 1000 for line in lines]
