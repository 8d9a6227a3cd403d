"""The sweep in the terminal: one row for each alpha, the front in about a dozen rows, and the choice."""

from __future__ import annotations

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.evaluation.sweep import Sweep, thinned

SHOWN = 12  # rows of the front


def sweep_table(sweep: Sweep, config: ModelConfig) -> str:
    """Format the sweep as text."""
    own = config.method.alpha
    first, shown = next(iter(sweep.curves.values()))[0], thinned(sweep.front, SHOWN)
    thinning = f"{len(shown)} of {len(sweep.front)}; all with --json or --out"
    points = f"{len(shown)} points" if len(shown) == len(sweep.front) else thinning
    lines = [
        f"EE only, eta 0: {first.top1.percent_interval} % right at {first.gmacs:.3f} GMACs, "
        f"{first.gmac_ratio:.2f}x fewer than the DeiT's {sweep.deit_gmacs:.3f}",
        "",
        "  alpha  targets   SAC only %           GMACs    best cascade %         eta  continue    GMACs",
    ]
    for alpha, curve in sweep.curves.items():
        best = max(curve, key=lambda p: (p.top1.right, -p.gmacs))
        targets = config.num_targets(alpha)
        lines.append(
            f"{'>' if alpha == own else ' '} {alpha:>5g}  {targets:>7}   {curve[-1].top1.percent_interval:<20} "
            f"{curve[-1].gmacs:>5.3f}    {best.top1.percent_interval:<18} {best.eta:>6.4g}  "
            f"{best.continue_fraction:>8.1%}    {best.gmacs:>5.3f}"
        )
    lines += ["  > the bundle's own alpha", "", f"Pareto front ({points}):"]
    lines.append("    eta  alpha   top-1 % (95 %)      continue    GMACs   x fewer than DeiT")
    lines += [
        f"{p.eta:>7.4g}  {p.alpha:>5g}   {p.top1.percent_interval:<20}{p.continue_fraction:>7.1%}   {p.gmacs:>6.3f}   "
        f"{p.gmac_ratio:>6.2f}x"
        for p in shown
    ]
    if sweep.choice is not None:
        p, exits = sweep.choice.point, 1 - sweep.choice.point.continue_fraction
        lines += [
            "",
            f"Chosen {sweep.choice.goal}:",
            f"  eta {p.eta:g}, alpha {p.alpha:g}: {p.top1.percent_interval} % right, {exits:.1%} exit "
            f"at stage 1, {p.gmacs:.3f} GMACs per image, {p.gmac_ratio:.2f}x fewer than the DeiT",
            "  chosen and measured on the same images: slightly optimistic",
        ]
    return "\n".join(lines)
