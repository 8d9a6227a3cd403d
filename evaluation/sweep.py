"""A finished sweep as a value, and the three files it becomes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.curve import Point


@dataclass(frozen=True)
class Choice:
    """The point chosen, and the goal in words."""

    point: Point
    goal: str


@dataclass(frozen=True)
class Sweep:
    """Curves by alpha (points by rising eta), the Pareto front over all of them, and the choice, if any."""

    title: str
    curves: Mapping[float, Sequence[Point]]
    front: Sequence[Point]
    choice: Choice | None
    deit_gmacs: float
    facts: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        choice = self.choice
        return {
            **self.facts,
            "deit_gmacs": self.deit_gmacs,
            "choice": None if choice is None else {"goal": choice.goal, **choice.point.to_dict()},
            "front": [point.to_dict() for point in self.front],
            "curves": {str(alpha): [point.to_dict() for point in curve] for alpha, curve in self.curves.items()},
        }


def write_files(sweep: Sweep, folder: Path) -> list[Path]:
    """Write sweep.json, sweep.png and sweep.html. Raises SacvitError."""
    from sacvit_deploy.evaluation.sweep_page import page
    from sacvit_deploy.evaluation.sweep_plot import draw

    paths = [folder / f"sweep.{suffix}" for suffix in ("json", "png", "html")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths[0].write_text(json.dumps(sweep.to_dict(), indent=1) + "\n", encoding="utf-8")
        draw(sweep, paths[1])
        paths[2].write_text(page(sweep), encoding="utf-8")
    except OSError as error:
        raise SacvitError(f"can't write the sweep into {os.fspath(folder)}: {error.strerror or error}") from error
    return paths


def outline(curve: Sequence[Point], most: int = 60) -> list[Point]:
    """Enough points of a curve to draw it: evenly spaced in cost, both ends included."""
    low, high = curve[0].gmacs, curve[-1].gmacs
    step = (high - low) / most
    kept = [curve[0]]
    for point in curve[1:]:
        if point.gmacs - kept[-1].gmacs >= step or point is curve[-1]:
            kept.append(point)
    return kept
