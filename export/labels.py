"""Class labels of a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sacvit_deploy.errors import CheckpointError, ExportError


def read_labels(path: Path) -> list[str]:
    """Read a labels file, one class per line. Raises CheckpointError."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"can't read labels from {path} ({error})") from error


def check_labels(labels: Sequence[str] | None, classes: int) -> list[str]:
    """Return the labels, or `class 0`, `class 1`, ... for None. Raises ExportError unless each class has one line."""
    labels = [f"class {number}" for number in range(classes)] if labels is None else list(labels)
    if len(labels) != classes:
        raise ExportError(f"{len(labels)} labels for {classes} classes; give one a line")
    if any(label.splitlines() != [label] for label in labels):
        raise ExportError("a label is empty or spans several lines")
    return labels
