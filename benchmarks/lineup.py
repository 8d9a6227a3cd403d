"""The lineup of a bench: every contender of one bundle, opened over one backend, in the precisions asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.protocol import Engine
from sacvit_deploy.benchmarks.baselines.costs import sait_cost, stvit_cost
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
from sacvit_deploy.benchmarks.plain_device import PlainOnDevice, plain_files, plain_pool
from sacvit_deploy.benchmarks.threshold import eta_for, stage_one_probabilities
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.held import EngineFile
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import BackendError, BundleError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.model import SACViT

AGAINST = ("deit", "sait", "sait-mass", "stvit")
THROUGH_HOST = "its tensors go through the host, unlike the cascade's and the DeiT's"  # on a device


@dataclass(frozen=True)
class Entry:
    """Contender with what is known before it runs. gmacs: by batch size, on which SaiT's groups depend.

    The cascade's depend on how many images continue, known after the run; those of an ONNX file stay unknown.
    """

    contender: Contender
    name: str
    precision: str
    gmacs: Callable[[int], float | None] = lambda batch: None
    gate: Mapping[str, float] | None = None
    accuracy: bool = False  # whether its weights were trained for the bundle's classes
    check: Callable[[int], object] = lambda batch: None  # raises UsageError for a batch it can't take
    note: str = ""
    scaled: bool = False  # for image files: JPEGs are decoded in full only where they continue


@dataclass(frozen=True)
class BenchSetup:
    """Options of a bench. fractions: forced continue fractions; etas: real gates; kept: share of tokens SaiT keeps."""

    bundle: Bundle
    data: Path | None
    image_count: int
    scopes: Sequence[str]
    batches: Sequence[int]
    threads: Sequence[int]
    backend: str
    device: str | None
    precisions: Sequence[str]
    alpha: float
    fractions: Sequence[float]
    etas: Sequence[float | None]  # None: each variant's own default
    scaled: bool
    against: Sequence[str]
    vs: Sequence[OnnxClassifier]
    baselines: Path  # their folder
    kept: float
    rounds: int
    processes: int
    out: Path | None
    png: bool


def open_lineup(
    models: Mapping[str, SACViT], setup: BenchSetup, images: BenchImages, say: Callable[[str], object]
) -> tuple[list[Entry], list[str]]:
    """Open every contender of the setup; returns them, and a note on each baseline that can't be opened.

    models: by precision. images: those to measure on, which set the forced gates and SaiT's threshold.
    """
    entries: list[Entry] = []
    notes: list[str] = []
    first = models[setup.precisions[0]]
    gmacs = costs(first.config).deit / 1e9
    for precision in setup.precisions:
        model = models[precision]
        entries += _gated(model, setup, images.pixels, scaled=False)
        if setup.scaled and images.paths is not None:
            # Another view has other probabilities, so the gate is forced anew.
            items = [model.prepare_scaled(path) for path in images.paths]
            views = [item.scaled or pixels for item, pixels in zip(items, images.pixels, strict=True)]
            entries += _gated(model, setup, views, scaled=True)
        files = model.backend.files(model.bundle, precision)
        if "deit" in setup.against:
            if BASELINE not in files:
                raise BundleError(
                    f"{model.bundle.path} has no `{BASELINE}` engine in {precision} for {model.backend.description}; "
                    "without a baseline there is nothing to compare with: export or build it again"
                )
            contender = _plain(model, files[BASELINE], files.get("weights"), max(setup.batches))
            entries.append(Entry(contender, "deit", precision, lambda batch: gmacs, accuracy=True))
        wanted = [name for name in setup.against if name != "deit"]
        if wanted:
            baselines = find_or_export(setup.baselines, model.bundle, precision, say)
            for name in wanted:
                family = name.partition("-")[0]
                if family in baselines.missing:
                    notes.append(f"{name} not run: {baselines.missing[family]}")
                    continue
                try:
                    entries.append(_baseline(name, baselines, model, setup, images.pixels))
                except BackendError as error:
                    notes.append(f"{name} in {precision} not run: {error}")
    for file in setup.vs:
        classify = open_classifier(file, first.backend, first.config.geometry.image_size)
        remarks = [] if file.batch is None else [f"its file takes batches of {file.batch}"]
        remarks += [] if first.pool is None else [THROUGH_HOST]
        entries.append(
            Entry(
                EngineContender(first.config.preprocessing, classify),
                f"vs:{file.path.name}",
                "as is",
                accuracy=file.classes == first.config.geometry.classes,
                check=partial(check_batch, file),
                note="; ".join(remarks),
            )
        )
    return entries, notes


def _gated(model: SACViT, setup: BenchSetup, images: Sequence[InputImage], *, scaled: bool) -> list[Entry]:
    """Make an entry of the cascade for each gate of the setup."""
    config = model.config
    count = config.num_targets(setup.alpha)
    gates: list[tuple[float, dict[str, float]]] = []
    if setup.fractions:
        probabilities = stage_one_probabilities(model, images)
        gates += [(eta_for(probabilities, share), {"forced": share}) for share in setup.fractions]
    etas = [model.eta if eta is None else eta for eta in setup.etas]
    gates += [(eta, {"eta": eta}) for eta in etas]
    return [
        Entry(
            CascadeContender(model, eta, count),
            "cascade-scaled" if scaled else "cascade",
            model.precision,
            gate=gate,
            accuracy=True,
            note="JPEGs are decoded in full only where they continue" if scaled else "",
            scaled=scaled,
        )
        for eta, gate in gates
    ]


def _plain(model: SACViT, engine: EngineFile, weights: EngineFile | None, batch: int) -> Contender:
    """Open a network of whole images: on the device, where the cascade has one, else with arrays. Raises BackendError.

    batch: the largest.
    """
    if model.pool is None:
        return EngineContender(model.config.preprocessing, classifier(model.backend.open(engine, weights)))
    device = model.backend.device(plain_files(model.backend, engine, weights, model.config, model.precision, batch))
    assert device is not None  # or the model had none, either
    return PlainOnDevice(plain_pool(device, model.config))


def _baseline(name: str, baselines: Baselines, model: SACViT, setup: BenchSetup, images: Sequence[Pixels]) -> Entry:
    """Open SaiT, SaiT in its adaptive mode, or STViT. Raises BackendError."""
    geometry, preprocessing = model.config.geometry, model.config.preprocessing
    tokens = CHILDREN * geometry.tokens
    kept = max(1, round(setup.kept * tokens))
    note = baselines.weights
    if name == "stvit":
        contender = _plain(model, baselines.files[name], baselines.files.get("weights"), max(setup.batches))
        macs = stvit_cost(geometry)
        return Entry(contender, name, model.precision, lambda batch: macs / 1e9, note=note)
    if model.pool is not None:
        note = f"{THROUGH_HOST}; {note}"

    def engine(role: str) -> Engine:
        return model.backend.open(baselines.files[role], baselines.files.get("weights"))

    if name == "sait-mass":
        head, tail = engine("sait_head"), engine("sait_tail")
        views = (full_view(images[at : at + 8], preprocessing) for at in range(0, len(images), 8))
        scores = np.concatenate([head.run({"image": view})["scores"] for view in views])
        threshold = threshold_for(scores, kept)
        counts = counts_by_mass(scores, threshold)

        def gmacs(batch: int) -> float:
            cuts = [group_by_count(counts[at : at + batch]) for at in range(0, len(counts), batch)]
            return sum(len(rows) * sait_cost(geometry, most) for cut in cuts for rows, most in cut) / len(counts) / 1e9

        note = (
            f"{threshold:.0%} of the attention, {counts.mean():.0f} tokens on average ({counts.min()} to "
            f"{counts.max()}); {note}"
        )
        return Entry(SaiTMass(preprocessing, head, tail, threshold), name, model.precision, gmacs, note=note)
    macs = sait_cost(geometry, kept)
    contender = EngineContender(preprocessing, classifier(engine(name), {"slots": np.arange(kept)}))
    note = f"{kept} of {tokens} tokens; {note}"
    return Entry(contender, name, model.precision, lambda batch: macs / 1e9, note=note)
