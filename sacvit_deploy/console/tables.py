"""Text tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Column = tuple[str, Sequence[str]]  # a head and the cells under it


def text_table(columns: Sequence[Column], *, align: str = "<", indent: str = "  ") -> str:
    """Lay out columns under their heads, two spaces apart.

    align: `<` or `>` for each column; columns beyond it are aligned right.
    """
    widths = [max(len(head), *map(len, cells)) for head, cells in columns]
    sides = align.ljust(len(columns), ">")

    def line(cells: Iterable[str]) -> str:
        padded = (f"{cell:{side}{width}}" for cell, side, width in zip(cells, sides, widths, strict=True))
        return (indent + "  ".join(padded)).rstrip()

    rows = zip(*(cells for _, cells in columns), strict=True)
    return "\n".join([line(head for head, _ in columns), *map(line, rows)])
