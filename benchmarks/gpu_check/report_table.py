"""The check's tables as text: under the card's name and the commands, one for each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from sacvit_deploy.benchmarks.gpu_check.machine_facts import CARD
from sacvit_deploy.benchmarks.gpu_check.steps import STEPS
from sacvit_deploy.console.tables import text_table

UNKNOWN = "an unknown card"
SUBJECTS = ("contender", "engine", "precision")


def report(data: Mapping[str, Any]) -> str:
    """Format a check's JSON."""
    facts = {row["fact"]: row["value"] for row in data["steps"].get("facts", {}).get("rows", ())}
    lines = [str(facts.get(CARD, UNKNOWN)), *(f"  {command}" for command in data.get("commands", ()))]
    for name, step in STEPS.items():
        own = data["steps"].get(name, {"state": "not asked for"})
        reason = f": {own['reason']}" if "reason" in own else ""
        lines += ["", f"{name}: {step.title}; {own['state']}{reason}"]
        if own.get("rows"):
            lines.append("\n\n".join(table(list(rows)) for _, rows in groupby(own["rows"], subject_of)))
    return "\n".join(lines)


def subject_of(row: Mapping[str, Any]) -> str:
    """Return what a row is about: rows of a step that are about something else have a table of their own."""
    return next((name for name in SUBJECTS if name in row), "")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay out rows, with a column for every key that one of them has."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return text_table([(key, [cell(row.get(key)) for row in rows]) for key in keys], align="<" * len(keys))


def cell(value: str | float | None) -> str:
    """Format a value with four digits."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)
