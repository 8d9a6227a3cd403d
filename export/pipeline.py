"""The export, step by step: checkpoint in, bundle out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

import sacvit_deploy
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.bundle.bundle import MANIFEST, describe_file, hash_file, open_bundle
from sacvit_deploy.bundle.manifest import Manifest, Variant
from sacvit_deploy.bundle.weights import write_engines, write_graph
from sacvit_deploy.bundle.write import check_target, whole_folder
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, GLUE
from sacvit_deploy.errors import ExportError
from sacvit_deploy.export.checkpoint import Checkpoint
from sacvit_deploy.export.glue import GatherStage, ViewStage
from sacvit_deploy.export.graph import OPSET, trace
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import CONVERSIONS, EEStage, PlainDeiT, SACStage, Stage, dtype_of
from sacvit_deploy.export.reference import BATCHES, SHIPPED, make_golden, normalised, shipped_pictures
from sacvit_deploy.glue import build_request, choose_targets
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.preprocess import low_view
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.verification.golden import Golden
from sacvit_deploy.verification.parity import Parity, measure_parity

NAMES = {"ee": "EE engine", "sac": "SAC engine", BASELINE: "plain DeiT, the baseline"}


@dataclass(frozen=True)
class Request:
    """What to export and where to. `eta` and `labels` override the checkpoint's own."""

    source: Path
    target: Path
    precisions: Sequence[str] = ("fp32",)
    replace: bool = False
    eta: float | None = None
    labels: Sequence[str] | None = None
    pictures: Sequence[ImageSource] = ()
    threads: int = 1
    finish: Callable[[Path], None] | None = None  # what is to be done with the whole bundle before anyone sees it


def export_bundle(checkpoint: Checkpoint, request: Request, say: Progress) -> Manifest:
    """Write the bundle and return its manifest. Raises ExportError, and then nothing is left behind."""
    model, config = checkpoint.model, checkpoint.model.config
    check_target(request.target, replace=request.replace)
    labels = pick_labels(checkpoint, request)
    with say.step("reference outputs on random and real pictures"):
        golden = make_golden(model, request.pictures or shipped_pictures())
    with whole_folder(request.target, replace=request.replace) as folder:
        variants = {}
        for precision in request.precisions:
            variants[precision] = export_variant(folder, model, precision, golden, request.threads, say)
        with say.step("labels, golden vectors, manifest"):
            (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
            golden.pick([row for row in SHIPPED if row < len(golden.kinds)]).save(folder / "golden.npz")
            manifest = Manifest(
                name=request.target.stem,
                config=config,
                eta=checkpoint.eta if request.eta is None else request.eta,
                labels=describe_file(folder / "labels.txt"),
                golden=describe_file(folder / "golden.npz"),
                variants=variants,
                provenance=provenance(checkpoint, request.source),
            )
            (folder / MANIFEST).write_bytes(manifest.to_bytes())
        if request.finish is not None:
            request.finish(folder)
            manifest = open_bundle(folder).manifest
    return manifest


def export_variant(
    folder: Path, model: ReferenceSACViT, precision: str, golden: Golden, threads: int, say: Progress
) -> Variant:
    """Write one precision's engines into `folder` and check them. Raises ExportError if parity fails."""
    weighted = CONVERSIONS[precision](model)
    graphs = {}
    stages: dict[str, Stage] = {"ee": EEStage(weighted), "sac": SACStage(weighted), BASELINE: PlainDeiT(weighted)}
    for role, stage in stages.items():
        with say.step(f"{NAMES[role]}, {precision}: trace and simplify"):
            graphs[role] = trace(stage)
    with say.step(f"{precision}: write, weights stored once, ONNX checker"):
        paths = write_engines(folder, graphs, precision)
        for glue in (ViewStage(model.config, dtype_of(weighted)), GatherStage(model.config, dtype_of(weighted))):
            paths[glue.role] = write_graph(folder / f"{glue.role}.{precision}.onnx", trace(glue))
    with say.step(f"{precision}: parity with the reference"):
        parity = check_parity(paths, model, golden, precision, threads)
        check_baseline(paths, PlainDeiT(model), golden, precision, threads)
        check_glue(paths, golden, model.config, OnnxRuntimeBackend("cpu", threads))
    say.note(parity.summary())
    return Variant({role: describe_file(path) for role, path in paths.items()}, parity.to_dict())


def check_parity(
    paths: dict[str, Path], model: ReferenceSACViT, golden: Golden, precision: str, threads: int
) -> Parity:
    """Compare the written engines, run by ONNX Runtime with the runtime's own glue, with the reference."""
    cascade = Cascade(OnnxRuntimeBackend("cpu", threads), paths, model.config)
    parity = measure_parity(cascade, golden, precision, BATCHES)
    if not parity.passed:
        raise ExportError(f"the {precision} engines do not do what the checkpoint does: {parity.summary()}")
    return parity


def check_baseline(paths: dict[str, Path], plain: PlainDeiT, golden: Golden, precision: str, threads: int) -> None:
    """Compare the plain DeiT's engine with the reference on one picture of each kind. Raises ExportError."""
    rows = [0, len(golden.images) - 1]
    images = normalised(golden.images[rows], plain.model.config)
    engine = OnnxRuntimeBackend("cpu", threads).open(paths[BASELINE], paths["weights"])
    found = engine.run({"image": images.numpy()})["logits"]
    with torch.no_grad():
        expected = plain(images).numpy()
    error = float(np.abs(found - expected).max() / np.abs(expected).max())
    if not error <= PRECISIONS[precision].tolerance:  # NaN, too, fails this
        raise ExportError(f"the {precision} engine of the plain DeiT differs from the checkpoint by {error:.1e}")


def pick_labels(checkpoint: Checkpoint, request: Request) -> list[str]:
    """The user's labels, else the checkpoint's, else `class 0`, `class 1`, ..."""
    classes = checkpoint.model.config.geometry.classes
    given = checkpoint.labels if request.labels is None else request.labels
    labels = [f"class {number}" for number in range(classes)] if given is None else list(given)
    if len(labels) != classes:
        raise ExportError(f"{len(labels)} labels for {classes} classes; give one a line")
    if any(label.splitlines() != [label] for label in labels):
        raise ExportError("a label is empty or spans several lines")
    return labels


def provenance(checkpoint: Checkpoint, source: Path) -> dict[str, Any]:
    """Where the bundle comes from: names and hashes, no paths of this machine."""
    return {
        "checkpoint": source.name,
        "checkpoint_sha256": hash_file(source),
        "family": checkpoint.family,
        "notes": checkpoint.notes,
        "training": checkpoint.provenance,
        "exported": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "opset": OPSET,
        "versions": {
            "sacvit-deploy": sacvit_deploy.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
        },
    }


def check_glue(paths: dict[str, Path], golden: Golden, config: ModelConfig, backend: Backend) -> None:
    """Compare the written files with the runtime's own glue, to the last bit. Raises ExportError."""
    view, gather = (backend.open(paths[role], None) for role in GLUE)
    pictures, rows, geometry = golden.images, np.arange(len(golden.images))[::-1], config.geometry
    dtype = gather.input_dtype("features")
    low = low_view(pictures, config.method.downsample, config.preprocessing)
    pairs = [(view.run({"pictures": pictures})["image"], low.astype(dtype))]
    # Any numbers will do for what is only moved.
    shape = (len(pictures), geometry.tokens, geometry.width)
    features, embeddings = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    out = {"scores": golden.scores, "features": features, "embeddings": embeddings}
    for count in sorted({targets.shape[1] for targets in golden.targets}):
        targets = choose_targets(golden.scores[rows], count, config)
        expected = build_request(pictures, out, rows, targets, config).inputs(config) | {"targets": targets}
        sizes = {"rows": rows, "slots": np.arange(count), "rest": np.arange(geometry.tokens - count)}
        found = gather.run({"pictures": pictures, **out, **sizes})
        pairs += [(found[name], value.astype(found[name].dtype)) for name, value in expected.items()]
    if not all(np.array_equal(found, expected) for found, expected in pairs):
        raise ExportError("the glue for devices does not do what the runtime's own does")
