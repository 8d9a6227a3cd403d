"""A bench for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sacvit_deploy.benchmarks.results import Process, Row
from sacvit_deploy.benchmarks.spread import Spread

SCOPES = {
    "engine": "from decoded pictures to probabilities",
    "file": "from picture files to probabilities",
}


def case_heading(row: Row) -> str:
    """What the rows of one case have in common."""
    rounds = f"{row.pictures} pictures, medians of {row.rounds} rounds (least-most)"
    return f"{SCOPES[row.scope]}, batch {row.batch}, {row.threads} threads; {rounds}"


def case_table(rows: Sequence[Row]) -> str:
    """The rows of one case. Columns that nothing could be measured for are left out."""
    reduced = any("deit.fp32" in row.ratios for row in rows)
    columns: list[tuple[str, list[str]]] = [
        ("contender", [row.name + ("" if row.steady else " ~") for row in rows]),
        ("GMACs", ["-" if row.gmacs is None else f"{row.gmacs:.2f}" for row in rows]),
        ("ideal", [times(row.ideal) for row in rows]),
        ("ms a picture", [f"{row.ms.median:.2f}" for row in rows]),
        ("images/s", [f"{row.images_per_second:.1f}" for row in rows]),
        ("against DeiT", [spread_times(row.ratios.get("deit")) for row in rows]),
    ]
    if reduced:
        columns.append(("fp32 DeiT", [_median_times(row.ratios.get("deit.fp32")) for row in rows]))
        columns.append(("itself fp32", [_median_times(row.ratios.get("same.fp32")) for row in rows]))
    keys = list(rows[0].latency_ms)
    columns.append(("ms " + "/".join(keys), [_latency(row, keys) for row in rows]))
    if any(row.accuracy is not None for row in rows):
        columns.append(("top-1 %", ["-" if row.accuracy is None else f"{100 * row.accuracy:.1f}" for row in rows]))
    if any(row.joules is not None for row in rows):
        columns.append(("J a picture", ["-" if row.joules is None else f"{row.joules:.3f}" for row in rows]))
    return aligned(columns)


def step_table(rows: Sequence[Row]) -> str:
    """Milliseconds a picture by step, of the cascades and of the others."""
    lines = []
    for row in rows:
        steps = "  ".join(f"{step} {ms:.2f}" for step, ms in row.steps_ms.items())
        rest = row.ms.median - sum(row.steps_ms.values())
        # Decoding in other threads overlaps the engines, so the steps may take longer than the whole.
        tail = f"  rest {rest:.2f}" if rest > 0.005 else ""
        lines.append(f"  {row.name:<{max(len(r.name) for r in rows)}}  {steps}{tail}")
    return "\n".join(["  ms a picture by step:", *lines])


def notes(rows: Iterable[Row]) -> list[str]:
    """What must be said of some contenders, each once, and what `~` means."""
    rows = list(rows)
    found = list(dict.fromkeys(f"{row.contender} {row.precision}: {row.note}" for row in rows if row.note))
    if any(not row.steady for row in rows):
        found.append("~: its rounds did not agree to 5 %; the machine may be busy")
    failed = [row for row in rows if row.failed]
    found += list(dict.fromkeys(f"{row.name}: {row.failed} pictures got no finite answer" for row in failed))
    return found


def process_table(found: Sequence[Process]) -> str:
    """Processes of their own."""
    columns = [
        ("one picture in a new process", [f"{one.contender} {one.precision}" for one in found]),
        ("s, all of it", [f"{one.seconds.median:.2f} ({one.seconds.low:.2f}-{one.seconds.high:.2f})" for one in found]),
        ("opened after ms", [f"{one.open_ms.median:.0f}" for one in found]),
        ("first picture ms", [f"{one.first_ms.median:.0f}" for one in found]),
    ]
    if any(one.peak_mb is not None for one in found):
        columns.append(("peak MB", ["-" if one.peak_mb is None else f"{one.peak_mb:.0f}" for one in found]))
    return aligned(columns)


def aligned(columns: Sequence[tuple[str, Sequence[str]]]) -> str:
    """Columns under their heads, the first to the left, the others to the right."""
    widths = [max(len(head), *map(len, cells)) for head, cells in columns]
    lines = [[head for head, _ in columns], *zip(*(cells for _, cells in columns), strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(["  " + first, *others]).rstrip()

    return "\n".join(map(line, lines))


def times(value: float | None) -> str:
    """`2.66x`, or a dash."""
    return "-" if value is None else f"{value:.2f}x"


def spread_times(found: Spread | None) -> str:
    """`2.66x (2.60-2.71)`, or a dash."""
    return "-" if found is None else f"{found.median:.2f}x ({found.low:.2f}-{found.high:.2f})"


def _median_times(found: Spread | None) -> str:
    return "-" if found is None else f"{found.median:.2f}x"


def _latency(row: Row, keys: Sequence[str]) -> str:
    return "/".join(f"{row.latency_ms[key]:.1f}" for key in keys)
