"""A bar chart of every layer's sensitivity to int8."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.console.figures import new_figure, save_png
from sacvit_deploy.errors import UsageError

KEPT, REDUCED = "#c0504d", "#4f81bd"


def draw_sensitivity(bundle: Bundle, path: Path) -> None:
    """Draw the sensitivities that the manifest records for the int8 variant. Raises UsageError, SacvitError."""
    variant = bundle.manifest.variants.get("int8")
    if variant is None or "calibration" not in variant.report:
        raise UsageError(f"{bundle.path} has no calibrated int8 variant to draw")
    facts = variant.report["calibration"]
    sensitivity: dict[str, float] = facts["damage"]
    kept = set(facts["kept_in_fp32"])
    with new_figure(504, 72 + 11.5 * len(sensitivity)) as figure:
        axes = figure.add_subplot()
        for place, (layer, value) in enumerate(sensitivity.items()):
            axes.barh(place, max(value, 1e-9), color=KEPT if layer in kept else REDUCED)
        axes.set_yticks(range(len(sensitivity)), sensitivity, fontsize=7)
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set_xscale("log")
        axes.set_xlabel("mean KL divergence from fp32 with this layer alone in int8, nats")
        axes.set_title(f"{bundle.manifest.name}: {len(kept)} of {len(sensitivity)} layers kept in fp32", fontsize=10)
        axes.grid(axis="x", alpha=0.3)
        save_png(figure, path, dpi=110)
