"""The field: every contender of one bundle, opened over one backend, in the precisions asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.benchmarks.contenders import (
    CascadeContender,
    Contender,
    Direct,
    SaiTMass,
    counts_by_mass,
    groups,
    plain,
    threshold_for,
)
from sacvit_deploy.benchmarks.forcing import eta_for, stage_one_probabilities
from sacvit_deploy.benchmarks.foreign import Foreign, check_batch, open_foreign
from sacvit_deploy.benchmarks.opponents import Opponents, find_or_export
from sacvit_deploy.benchmarks.pictures import Material
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import SAIT_KEPT, costs, sait_cost, stvit_cost
from sacvit_deploy.errors import BackendError, BundleError
from sacvit_deploy.geometry import CHILDREN, num_targets
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.images.scaled import Picture

AGAINST = ("deit", "sait", "sait-mass", "stvit")


@dataclass(frozen=True)
class Entry:
    """One contender with what is known of it before it runs. gmacs: by batch size, as SaiT's groups depend on it."""

    contender: Contender
    name: str
    precision: str
    gmacs: Callable[[int], float | None]
    gate: Mapping[str, float] | None = None
    accuracy: bool = False  # whether its answers mean something
    check: Callable[[int], object] = lambda batch: None  # raises for a batch it can't take
    note: str = ""
    scaled: bool = False  # from files alone: decodes JPEGs in full only where they continue


@dataclass
class Plan:
    """What to open. fractions: forced continue fractions; etas: real gates. kept: share of tokens SaiT keeps."""

    precisions: Sequence[str]
    against: Sequence[str]
    opponents: Path
    alpha: float
    fractions: Sequence[float] = ()
    etas: Sequence[float | None] = ()  # None: each variant's own default
    kept: float = SAIT_KEPT
    vs: Sequence[Foreign] = ()
    scaled: bool = False
    notes: list[str] = field(default_factory=list)


def open_field(
    models: Mapping[str, SACViT], plan: Plan, material: Material, say: Callable[[str], object]
) -> list[Entry]:
    """Open everything that the plan names; what can't be opened is named in its notes. models: by precision.

    material: what will be measured on, for forced shares and SaiT's threshold.
    """
    entries: list[Entry] = []
    for precision in plan.precisions:
        model = models[precision]
        entries += _cascades(model, plan, material)
        files = model.backend.files(model.bundle, precision)
        if "deit" in plan.against:
            if BASELINE not in files:
                raise BundleError(
                    f"{model.bundle.path} has no `{BASELINE}` engine in {precision} for {model.backend.description}; "
                    "without a baseline there is nothing to compare with: export or build it again"
                )
            engine = model.backend.open(files[BASELINE], files.get("weights"))
            entries.append(_direct("deit", model, plain(engine), costs(model.config).deit / 1e9, accuracy=True))
        wanted = [name for name in plan.against if name != "deit"]
        if wanted:
            found = find_or_export(plan.opponents, model.bundle, precision, say)
            entries += _opponents(wanted, found, model, plan, material.images)
    first = models[plan.precisions[0]]
    for foreign in plan.vs:
        size, classes = first.config.geometry.image_size, first.config.geometry.classes
        classify = open_foreign(foreign, first.backend, size)
        entries.append(
            Entry(
                Direct(classify, first.config.preprocessing),
                f"vs:{foreign.path.name}",
                "as is",
                lambda batch: None,
                accuracy=foreign.classes == classes,
                check=lambda batch, foreign=foreign: check_batch(foreign, batch),  # type: ignore[misc]
                note="" if foreign.batch is None else f"its file takes batches of {foreign.batch}",
            )
        )
    return entries


def _cascades(model: SACViT, plan: Plan, material: Material) -> list[Entry]:
    entries = _gated(model, plan, material.images, scaled=False)
    if plan.scaled and material.paths is not None:
        # Another view has other probabilities, so the gate is forced anew.
        items = [model.prepare_scaled(path) for path in material.paths]
        looks = [item.scaled or image for item, image in zip(items, material.images, strict=True)]
        entries += _gated(model, plan, looks, scaled=True)
    return entries


def _gated(model: SACViT, plan: Plan, images: Sequence[Picture], *, scaled: bool) -> list[Entry]:
    """The cascade behind each gate of the plan."""
    config = model.config
    count = num_targets(plan.alpha, config.geometry.tokens, config.method.rounding)
    gates: list[tuple[float, dict[str, float]]] = []
    if plan.fractions:
        probabilities = stage_one_probabilities(model.cascade, images)
        gates += [(eta_for(probabilities, share), {"forced": share}) for share in plan.fractions]
    for eta in plan.etas:
        chosen = model.eta if eta is None else eta
        gates.append((chosen, {"eta": chosen}))
    return [
        Entry(
            CascadeContender(model, eta, count),
            "cascade-scaled" if scaled else "cascade",
            model.precision,
            lambda batch: None,  # depends on how many really continue, which is known afterwards
            gate,
            accuracy=True,
            note="JPEGs are decoded in full only where they continue" if scaled else "",
            scaled=scaled,
        )
        for eta, gate in gates
    ]


def _direct(
    name: str,
    model: SACViT,
    classify: Callable[..., object],
    gmacs: float,
    *,
    accuracy: bool = False,
    note: str = "",
) -> Entry:
    contender = Direct(classify, model.config.preprocessing)  # type: ignore[arg-type]
    return Entry(contender, name, model.precision, lambda batch: gmacs, accuracy=accuracy, note=note)


def _opponents(
    wanted: Sequence[str], found: Opponents, model: SACViT, plan: Plan, images: Sequence[Pixels]
) -> list[Entry]:
    geometry = model.config.geometry
    tokens = CHILDREN * geometry.tokens
    kept = max(1, round(plan.kept * tokens))
    entries = []
    for name in wanted:
        family = name.partition("-")[0]
        if family in found.missing:
            plan.notes.append(f"{name} not run: {found.missing[family]}")
            continue
        try:
            if name == "sait":
                engine = _open(found, model, "sait")
                classify = plain(engine, {"slots": np.arange(kept)})
                gmacs = sait_cost(geometry, kept) / 1e9
                note = f"{kept} of {tokens} tokens; {found.weights}"
                entries.append(_direct(name, model, classify, gmacs, note=note))
            elif name == "stvit":
                engine = _open(found, model, "stvit")
                gmacs = stvit_cost(geometry) / 1e9
                entries.append(_direct(name, model, plain(engine), gmacs, note=found.weights))
            else:
                entries.append(_adaptive(name, found, model, images, kept))
        except BackendError as error:
            plan.notes.append(f"{name} in {model.precision} not run: {error}")
    return entries


def _open(found: Opponents, model: SACViT, role: str) -> Engine:
    return model.backend.open(found.files[role], found.files.get("weights"))


def _adaptive(name: str, found: Opponents, model: SACViT, images: Sequence[Pixels], kept: int) -> Entry:
    """SaiT's adaptive mode at the threshold that keeps as many tokens on average as its fixed mode does."""
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    head, tail = _open(found, model, "sait_head"), _open(found, model, "sait_tail")
    views = (full_view(images[at : at + 8], preprocessing) for at in range(0, len(images), 8))
    scores = np.concatenate([head.run({"image": view})["scores"] for view in views])
    threshold = threshold_for(scores, kept)
    counts: Index = counts_by_mass(scores, threshold)
    note = (
        f"{threshold:.0%} of the attention, {counts.mean():.0f} tokens on average ({counts.min()} to {counts.max()}); "
        f"{found.weights}"
    )

    def gmacs(batch: int) -> float:
        cuts = [groups(counts[at : at + batch]) for at in range(0, len(counts), batch)]
        return sum(len(rows) * sait_cost(geometry, most) for cut in cuts for rows, most in cut) / len(counts) / 1e9

    contender = SaiTMass(head, tail, threshold, preprocessing)
    return Entry(contender, name, model.precision, gmacs, note=note)
