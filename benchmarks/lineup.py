"""The lineup of a bench: every contender of one bundle, opened over one backend, in the precisions asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.benchmarks.baselines.costs import SAIT_KEPT, sait_cost, stvit_cost
from sacvit_deploy.benchmarks.baselines.store import Baselines, find_or_export
from sacvit_deploy.benchmarks.contenders import (
    CascadeContender,
    Contender,
    EngineContender,
    SaiTMass,
    classifier,
    counts_by_mass,
    group_by_count,
    threshold_for,
)
from sacvit_deploy.benchmarks.images import BenchImages
from sacvit_deploy.benchmarks.onnx_file import OnnxClassifier, check_batch, open_classifier
from sacvit_deploy.benchmarks.threshold import eta_for, stage_one_probabilities
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import BackendError, BundleError
from sacvit_deploy.geometry import CHILDREN, num_targets
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.model import SACViT

AGAINST = ("deit", "sait", "sait-mass", "stvit")


@dataclass(frozen=True)
class Entry:
    """Contender with what is known before it runs. gmacs: by batch size, on which SaiT's groups depend."""

    contender: Contender
    name: str
    precision: str
    gmacs: Callable[[int], float | None]
    gate: Mapping[str, float] | None = None
    accuracy: bool = False  # whether its weights were trained for the bundle's classes
    check: Callable[[int], object] = lambda batch: None  # raises UsageError for a batch it can't take
    note: str = ""
    scaled: bool = False  # for image files: JPEGs are decoded in full only where they continue


@dataclass
class BenchSetup:
    """Contenders to open. fractions: forced continue fractions; etas: real gates; kept: share of tokens SaiT keeps."""

    precisions: Sequence[str]
    against: Sequence[str]
    baselines: Path  # their folder
    alpha: float
    fractions: Sequence[float] = ()
    etas: Sequence[float | None] = ()  # None: each variant's own default
    kept: float = SAIT_KEPT
    vs: Sequence[OnnxClassifier] = ()
    scaled: bool = False
    notes: list[str] = field(default_factory=list)


def open_lineup(
    models: Mapping[str, SACViT], setup: BenchSetup, images: BenchImages, say: Callable[[str], object]
) -> list[Entry]:
    """Open every contender of the setup. Baselines that can't be opened are added to its notes.

    models: by precision. images: those to measure on, which set the forced gates and SaiT's threshold.
    """
    entries: list[Entry] = []
    for precision in setup.precisions:
        model = models[precision]
        entries += _cascades(model, setup, images)
        files = model.backend.files(model.bundle, precision)
        if "deit" in setup.against:
            if BASELINE not in files:
                raise BundleError(
                    f"{model.bundle.path} has no `{BASELINE}` engine in {precision} for {model.backend.description}; "
                    "without a baseline there is nothing to compare with: export or build it again"
                )
            engine = model.backend.open(files[BASELINE], files.get("weights"))
            entries.append(_direct("deit", model, classifier(engine), costs(model.config).deit / 1e9, accuracy=True))
        wanted = [name for name in setup.against if name != "deit"]
        if wanted:
            baselines = find_or_export(setup.baselines, model.bundle, precision, say)
            entries += _baselines(wanted, baselines, model, setup, images.pixels)
    first = models[setup.precisions[0]]
    for file in setup.vs:
        size, classes = first.config.geometry.image_size, first.config.geometry.classes
        classify = open_classifier(file, first.backend, size)
        entries.append(
            Entry(
                EngineContender(classify, first.config.preprocessing),
                f"vs:{file.path.name}",
                "as is",
                lambda batch: None,
                accuracy=file.classes == classes,
                check=lambda batch, file=file: check_batch(file, batch),  # type: ignore[misc]
                note="" if file.batch is None else f"its file takes batches of {file.batch}",
            )
        )
    return entries


def _cascades(model: SACViT, setup: BenchSetup, images: BenchImages) -> list[Entry]:
    entries = _gated(model, setup, images.pixels, scaled=False)
    if setup.scaled and images.paths is not None:
        # Another view has other probabilities, so the gate is forced anew.
        items = [model.prepare_scaled(path) for path in images.paths]
        views = [item.scaled or pixels for item, pixels in zip(items, images.pixels, strict=True)]
        entries += _gated(model, setup, views, scaled=True)
    return entries


def _gated(model: SACViT, setup: BenchSetup, images: Sequence[InputImage], *, scaled: bool) -> list[Entry]:
    """Make an entry of the cascade for each gate of the setup."""
    config = model.config
    count = num_targets(setup.alpha, config.geometry.tokens, config.method.rounding)
    gates: list[tuple[float, dict[str, float]]] = []
    if setup.fractions:
        probabilities = stage_one_probabilities(model.cascade, images)
        gates += [(eta_for(probabilities, share), {"forced": share}) for share in setup.fractions]
    for eta in setup.etas:
        chosen = model.eta if eta is None else eta
        gates.append((chosen, {"eta": chosen}))
    return [
        Entry(
            CascadeContender(model, eta, count),
            "cascade-scaled" if scaled else "cascade",
            model.precision,
            lambda batch: None,  # depends on how many images continue, known after the run
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
    contender = EngineContender(classify, model.config.preprocessing)  # type: ignore[arg-type]
    return Entry(contender, name, model.precision, lambda batch: gmacs, accuracy=accuracy, note=note)


def _baselines(
    wanted: Sequence[str], baselines: Baselines, model: SACViT, setup: BenchSetup, images: Sequence[Pixels]
) -> list[Entry]:
    geometry = model.config.geometry
    tokens = CHILDREN * geometry.tokens
    kept = max(1, round(setup.kept * tokens))
    entries = []
    for name in wanted:
        family = name.partition("-")[0]
        if family in baselines.missing:
            setup.notes.append(f"{name} not run: {baselines.missing[family]}")
            continue
        try:
            if name == "sait":
                engine = _open(baselines, model, "sait")
                classify = classifier(engine, {"slots": np.arange(kept)})
                gmacs = sait_cost(geometry, kept) / 1e9
                note = f"{kept} of {tokens} tokens; {baselines.weights}"
                entries.append(_direct(name, model, classify, gmacs, note=note))
            elif name == "stvit":
                engine = _open(baselines, model, "stvit")
                gmacs = stvit_cost(geometry) / 1e9
                entries.append(_direct(name, model, classifier(engine), gmacs, note=baselines.weights))
            else:
                entries.append(_adaptive(name, baselines, model, images, kept))
        except BackendError as error:
            setup.notes.append(f"{name} in {model.precision} not run: {error}")
    return entries


def _open(baselines: Baselines, model: SACViT, role: str) -> Engine:
    return model.backend.open(baselines.files[role], baselines.files.get("weights"))


def _adaptive(name: str, baselines: Baselines, model: SACViT, images: Sequence[Pixels], kept: int) -> Entry:
    """Make the entry of SaiT's adaptive mode, at the threshold that keeps `kept` tokens on average."""
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    head, tail = _open(baselines, model, "sait_head"), _open(baselines, model, "sait_tail")
    views = (full_view(images[at : at + 8], preprocessing) for at in range(0, len(images), 8))
    scores = np.concatenate([head.run({"image": view})["scores"] for view in views])
    threshold = threshold_for(scores, kept)
    counts: Index = counts_by_mass(scores, threshold)
    note = (
        f"{threshold:.0%} of the attention, {counts.mean():.0f} tokens on average ({counts.min()} to {counts.max()}); "
        f"{baselines.weights}"
    )

    def gmacs(batch: int) -> float:
        cuts = [group_by_count(counts[at : at + batch]) for at in range(0, len(counts), batch)]
        return sum(len(rows) * sait_cost(geometry, most) for cut in cuts for rows, most in cut) / len(counts) / 1e9

    contender = SaiTMass(head, tail, threshold, preprocessing)
    return Entry(contender, name, model.precision, gmacs, note=note)
