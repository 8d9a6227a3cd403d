"""Terminal tables of a bench; the page shows the same columns with every spread."""

from __future__ import annotations

from collections.abc import Sequence

from sacvit_deploy.benchmarks.report.results import SCOPES, BenchRow, StartupResult
from sacvit_deploy.benchmarks.spread import Spread
from sacvit_deploy.console.tables import Column, text_table


def case_text(rows: Sequence[BenchRow]) -> str:
    """Format one case as text: what its rows have in common, a table, and the milliseconds of every step."""
    first, width = rows[0], max(len(row.name) for row in rows)
    lines = [
        f"{SCOPES[first.scope]}, batch {first.batch}, {first.threads} threads; {first.pictures} images, medians of "
        f"{first.rounds} rounds (min-max)",
        text_table(case_columns(rows)),
        "  ms per image by step:",
    ]
    for row in rows:
        lines.append(f"  {row.name:<{width}}  " + "  ".join(f"{step} {ms:.2f}" for step, ms in row.steps().items()))
    return "\n".join(lines)


def case_columns(rows: Sequence[BenchRow], *, spreads: bool = False) -> list[Column]:
    """Return the columns of one case; those without any value are left out.

    spreads: with the smallest and largest round of every figure, and a column for each latency percentile.
    """
    columns: list[Column] = [
        ("contender", [row.name + ("" if row.steady else " ~") for row in rows]),
        ("GMACs", ["-" if row.gmacs is None else f"{row.gmacs:.2f}" for row in rows]),
        ("ideal", [times(row.ideal) for row in rows]),
        ("ms (min-max)", [with_range(row.ms) for row in rows])
        if spreads
        else ("ms/image", [f"{row.ms.median:.2f}" for row in rows]),
        ("images/s", [f"{row.images_per_second:.1f}" for row in rows]),
        ("against DeiT", [spread_times(row.ratios.get("deit")) for row in rows]),
    ]
    if any("deit.fp32" in row.ratios for row in rows):
        for head, key in (("fp32 DeiT", "deit.fp32"), ("itself fp32", "same.fp32")):
            ratios = [row.ratios.get(key) for row in rows]
            if spreads:
                columns.append((f"against {head}", [spread_times(ratio) for ratio in ratios]))
            else:
                columns.append((head, [times(ratio.median if ratio else None) for ratio in ratios]))
    percentiles = list(rows[0].latency_ms)
    if spreads:
        columns += [(f"{key} ms", [f"{row.latency_ms[key]:.1f}" for row in rows]) for key in percentiles]
    else:
        latencies = ["/".join(f"{row.latency_ms[key]:.1f}" for key in percentiles) for row in rows]
        columns.append(("ms " + "/".join(percentiles), latencies))
    if any(row.accuracy is not None for row in rows):
        columns.append(("top-1 %", ["-" if row.accuracy is None else f"{100 * row.accuracy:.1f}" for row in rows]))
    if any(row.joules is not None for row in rows):
        columns.append(("J/image", ["-" if row.joules is None else f"{row.joules:.3f}" for row in rows]))
    return columns


def notes(rows: Sequence[BenchRow]) -> list[str]:
    """Collect the contenders' notes, each once, the failures, and the meaning of `~` where a row has it."""
    remarks = [f"{row.contender} {row.precision}: {row.note}" for row in rows if row.note]
    if any(not row.steady for row in rows):
        remarks.append("~: its rounds did not agree to 5 %; the machine may be busy")
    remarks += [f"{row.name}: {row.failed} images got no finite answer" for row in rows if row.failed]
    return list(dict.fromkeys(remarks))


def startup_columns(results: Sequence[StartupResult]) -> list[Column]:
    """Return the columns of start-up; memory is left out where the system does not report it."""
    columns: list[Column] = [
        ("one image in a new process", [f"{one.contender} {one.precision}" for one in results]),
        ("s, all of it", [with_range(one.seconds) for one in results]),
        ("opened after ms", [f"{one.open_ms.median:.0f}" for one in results]),
        ("first image ms", [f"{one.first_ms.median:.0f}" for one in results]),
    ]
    if any(one.peak_mb is not None for one in results):
        columns.append(("peak MB", ["-" if one.peak_mb is None else f"{one.peak_mb:.0f}" for one in results]))
    return columns


def times(value: float | None) -> str:
    """Format a factor as `2.66x`, None as a dash."""
    return "-" if value is None else f"{value:.2f}x"


def spread_times(spread: Spread | None) -> str:
    """Format the spread of a factor as `2.66x (2.60-2.71)`, None as a dash."""
    return "-" if spread is None else f"{spread.median:.2f}x ({spread.low:.2f}-{spread.high:.2f})"


def with_range(spread: Spread) -> str:
    """Format a spread as `2.66 (2.60-2.71)`."""
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"
