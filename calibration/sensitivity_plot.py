"""The damage of every layer, as a small chart."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.console.figures import load_matplotlib
from sacvit_deploy.errors import SacvitError, UsageError

KEPT, REDUCED = "#c0504d", "#4f81bd"


def draw_damage(bundle: Bundle, path: Path) -> None:
    """Draw what the manifest tells of the int8 variant: a bar for each layer. Raises UsageError, SacvitError."""
    variant = bundle.manifest.variants.get("int8")
    if variant is None or "calibration" not in variant.report:
        raise UsageError(f"{bundle.path} has no calibrated int8 variant to draw")
    facts = variant.report["calibration"]
    hurt: dict[str, float] = facts["damage"]
    kept = set(facts["kept_in_fp32"])
    library = load_matplotlib()
    figure = library.figure.Figure(figsize=(7, 1 + 0.16 * len(hurt)), layout="constrained")
    axes = figure.add_subplot()
    names = list(hurt)
    colours = [KEPT if name in kept else REDUCED for name in names]
    axes.barh(names, [max(value, 1e-9) for value in hurt.values()], color=colours)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xscale("log")
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("mean KL divergence from fp32 with this layer alone in int8, nats")
    axes.set_title(f"{bundle.manifest.name}: {len(kept)} of {len(names)} layers kept in fp32", fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise SacvitError(f"can't write {path}: {error}") from error
