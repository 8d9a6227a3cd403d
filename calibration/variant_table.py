"""The table of variants against fp32, for the terminal."""

from __future__ import annotations

from sacvit_deploy.calibration.variant_report import VariantReport
from sacvit_deploy.console.text import counted

HEADER = (
    "              EE only          SAC only         at eta                     exits    same answer as fp32   "
    "gate    targets\n"
    "              top-1 %          top-1 %          top-1 %          (eta)              EE     SAC    at eta  "
    "flips   in common"
)


def variant_table(reports: list[VariantReport], judged_on: str) -> str:
    """Format all variants, fp32 first, with their losses and unanswered images below."""
    reference, *others = reports
    lines = [f"judged on {judged_on}", HEADER, *(_line(report, reference) for report in reports)]
    lines += [
        f"  {report.precision}: largest loss {max(0.0, report.drop):.2f} points"
        for report in others
        if report.drop is not None
    ]
    lines += [
        f"  {report.precision}: no finite answer on {counted(report.unanswered, 'image')}, counted as wrong"
        for report in others
        if report.unanswered
    ]
    return "\n".join(lines)


def _line(report: VariantReport, reference: VariantReport) -> str:
    """Format one variant; beside its accuracies stand the differences from fp32, in points."""

    def accuracy(name: str) -> str:
        own, base = getattr(report, name), getattr(reference, name)
        if own is None:
            return f"{'no labels':<17}"
        change = "" if report is reference else f" ({100 * (own.value - base.value):+.2f})"
        return f"{100 * own.value:.2f}{change}".ljust(17)

    scores = "".join(accuracy(name) for name in ("ee", "sac", "cascade"))
    start = f"  {report.precision:<12}{scores}{f'({report.eta:.4g})':<9}{report.exits:>7.1%}"
    if report is reference:
        return start
    agreement = "".join(f"{value:>8.2%}" for value in (report.agree_ee, report.agree_sac, report.agree_cascade))
    return f"{start}  {agreement}   {report.flips:>6.2%}   {report.overlap:>7.2%}"
