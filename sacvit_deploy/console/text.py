"""Phrases that messages have in common."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5  # names in one message


def counted(count: int, noun: str) -> str:
    """Format a count with its noun: `1 image`, `2,000 images`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def listed(names: Sequence[str]) -> str:
    """List the first few names and the number of those left out: `a, b, c, d, e and 12 more`."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
