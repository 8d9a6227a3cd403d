"""Export of a checkpoint as a bundle, step by step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

from sacvit_deploy import __version__
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.bundle.bundle import MANIFEST, describe_file, hash_file, open_bundle
from sacvit_deploy.bundle.label_file import check_names
from sacvit_deploy.bundle.manifest import Manifest, Variant
from sacvit_deploy.bundle.weights import write_engines, write_graph
from sacvit_deploy.bundle.write import check_target, whole_folder
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.confidence import NEAR, softmax
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.contract import BASELINE, FOR_GPU, GLUE
from sacvit_deploy.errors import ExportError, LabelError
from sacvit_deploy.export.checkpoint import Checkpoint
from sacvit_deploy.export.glue import GatherStage, ViewStage
from sacvit_deploy.export.gpu_layout import GpuDeiT, GpuEE, GpuSAC
from sacvit_deploy.export.graph import OPSET, trace, untried_torch
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import CONVERSIONS, EEStage, PlainDeiT, SACStage, dtype_of
from sacvit_deploy.export.reference import BATCHES, BUNDLED_ROWS, make_golden, normalised, shipped_images
from sacvit_deploy.glue import build_request
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.preprocess import low_view
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.selection import choose_targets
from sacvit_deploy.verification.golden import Golden
from sacvit_deploy.verification.parity import Parity, measure_parity, relative_error

TITLES = {"ee": "EE engine", "sac": "SAC engine", BASELINE: "plain DeiT, the baseline"}


@dataclass(frozen=True)
class ExportRequest:
    """Options of an export; `eta` overrides the checkpoint's.

    images: real images for the parity check, the shipped photographs unless given. postprocess: called with the folder
    of the complete bundle before it gets its name.
    """

    target: Path
    precisions: Sequence[str] = ("fp32",)
    replace: bool = False
    eta: float | None = None
    images: Sequence[ImageSource] = ()
    threads: int = 1
    postprocess: Callable[[Path], None] | None = None


def export_bundle(checkpoint: Checkpoint, request: ExportRequest, progress: Progress) -> Manifest:
    """Write the bundle and return its manifest. Raises ExportError, and then nothing is left behind."""
    model, config = checkpoint.model, checkpoint.model.config
    check_target(request.target, replace=request.replace)
    labels = check_labels(checkpoint.labels, config.geometry.classes)
    if (note := untried_torch(str(torch.__version__))) is not None:
        progress.note(f"note: {note}")
    with progress.step("reference outputs on random and real images"):
        golden = make_golden(model, request.images or shipped_images())
    with whole_folder(request.target, replace=request.replace) as folder:
        variants = {}
        for precision in request.precisions:
            variants[precision] = export_variant(folder, model, precision, golden, request.threads, progress)
        with progress.step("labels, golden vectors, manifest"):
            (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
            golden.pick([row for row in BUNDLED_ROWS if row < len(golden.kinds)]).save(folder / "golden.npz")
            manifest = Manifest(
                name=request.target.stem,
                config=config,
                eta=checkpoint.eta if request.eta is None else request.eta,
                labels=describe_file(folder / "labels.txt"),
                golden=describe_file(folder / "golden.npz"),
                variants=variants,
                provenance=provenance(checkpoint),
            )
            (folder / MANIFEST).write_bytes(manifest.to_bytes())
        if request.postprocess is not None:
            request.postprocess(folder)
            manifest = open_bundle(folder).manifest
    return manifest


def check_labels(labels: Sequence[str] | None, classes: int) -> list[str]:
    """Return the labels, or `class 0`, `class 1`, ... for None. Raises ExportError unless each class has one line."""
    labels = [f"class {number}" for number in range(classes)] if labels is None else list(labels)
    if len(labels) != classes:
        raise ExportError(f"{len(labels)} labels for {classes} classes; give one a line")
    try:
        check_names(labels, "labels")
    except LabelError as error:
        raise ExportError(f"{error}; give the names with --labels") from error
    return labels


def export_variant(
    folder: Path, model: ReferenceSACViT, precision: str, golden: Golden, threads: int, progress: Progress
) -> Variant:
    """Write one precision's engines into `folder` and check them. Raises ExportError if parity fails."""
    converted = CONVERSIONS[precision](model)
    dtype, graphs = dtype_of(converted), {}
    for stage in (EEStage(converted), SACStage(converted), PlainDeiT(converted)):
        with progress.step(f"{TITLES[stage.role]}, {precision}: trace and simplify"):
            graphs[stage.role] = trace(stage)
    if PRECISIONS[precision].gpu_layout:
        graphs |= lay_out_for_gpu(folder, model, converted, precision, golden, threads, progress)
    with progress.step(f"{precision}: write, weights stored once, ONNX checker"):
        paths = write_engines(folder, graphs, precision)
        for glue in (ViewStage(model.config, dtype), GatherStage(model.config, dtype)):
            paths[glue.role] = write_graph(folder / f"{glue.role}.{precision}.onnx", trace(glue))
    with progress.step(f"{precision}: parity with the reference"):
        parity = check_parity(paths, model, golden, precision, threads)
        check_baseline(paths, PlainDeiT(model), golden, precision, threads)
        check_glue(paths, golden, model.config, OnnxRuntimeBackend("cpu", threads))
    progress.note(parity.summary())
    return Variant({role: describe_file(path) for role, path in paths.items()}, parity.to_dict())


def lay_out_for_gpu(
    folder: Path,
    model: ReferenceSACViT,
    converted: ReferenceSACViT,
    precision: str,
    golden: Golden,
    threads: int,
    progress: Progress,
) -> dict[str, ir.Model]:
    """Trace a variant's engines as a GPU runs them fast and check them on the CPU; returns graphs by role.

    Where they fail the parity check, as with a residual stream beyond half precision's range, a note is given and
    nothing returned: a GPU then gets the plain engines. folder: where there is room for them meanwhile.
    """
    graphs = {}
    for stage in (GpuEE(converted), GpuSAC(converted), GpuDeiT(converted)):
        with progress.step(f"{TITLES[stage.role]}, {precision}, laid out for a GPU: trace"):
            graphs[stage.role] = trace(stage)
    trouble = None
    step = progress.step(f"{precision}, laid out for a GPU: parity with the reference, on the CPU")
    with tempfile.TemporaryDirectory(dir=folder) as scratch, step:
        paths = write_engines(Path(scratch), graphs, precision)
        for graph in graphs.values():
            ir.external_data.load_to_model(graph)  # the weights again, before their file goes
        try:
            parity = check_parity(paths, model, golden, precision, threads)
            check_baseline(paths, PlainDeiT(model), golden, precision, threads)
            check_confidence(paths, golden, model.config, threads)
        except ExportError as error:
            trouble = error
    if trouble is not None:
        progress.note(f"note: without engines laid out for a GPU, which then runs the plain ones: {trouble}")
        return {}
    progress.note(parity.summary())
    return {role + FOR_GPU: graph for role, graph in graphs.items()}


def check_parity(
    paths: dict[str, Path], model: ReferenceSACViT, golden: Golden, precision: str, threads: int
) -> Parity:
    """Compare the written engines, run by ONNX Runtime with the runtime's glue, with the reference's golden vectors.

    Raises ExportError unless parity holds.
    """
    cascade = Cascade(OnnxRuntimeBackend("cpu", threads), paths, model.config)
    parity = measure_parity(cascade, golden, precision, BATCHES)
    if not parity.passed:
        raise ExportError(f"the {precision} engines do not do what the checkpoint does: {parity.summary()}")
    return parity


def check_baseline(paths: dict[str, Path], plain: PlainDeiT, golden: Golden, precision: str, threads: int) -> None:
    """Compare the plain DeiT's engine with the reference on one image of each kind. Raises ExportError."""
    rows = [0, len(golden.images) - 1]
    images = normalised(golden.images[rows], plain.model.config)
    engine = OnnxRuntimeBackend("cpu", threads).open(paths[BASELINE], paths["weights"])
    logits = engine.run({"image": images.numpy()})["logits"]
    with torch.no_grad():
        reference = plain(images).numpy()
    error = relative_error(logits, reference)
    if not error <= PRECISIONS[precision].tolerance:  # NaN, too, fails this
        raise ExportError(f"the {precision} engine of the plain DeiT differs from the checkpoint by {error:.1e}")


def check_confidence(paths: dict[str, Path], golden: Golden, config: ModelConfig, threads: int) -> None:
    """Compare the EE engine's confidence with what the host makes of its logits. Raises ExportError.

    The gate takes it for right to within NEAR.
    """
    cascade = Cascade(OnnxRuntimeBackend("cpu", threads), paths, config)
    outputs = cascade.stage_one(cascade.low_view(golden.images))
    error = float(np.abs(outputs["confidence"][:, 0] - softmax(outputs["logits"]).max(axis=1)).max())
    if not error <= NEAR / 10:  # NaN, too, fails this
        raise ExportError(f"the confidence of the engine laid out for a GPU is off by {error:.1e}")


def check_glue(paths: dict[str, Path], golden: Golden, config: ModelConfig, backend: Backend) -> None:
    """Compare the glue engines with the runtime's glue, to the last bit. Raises ExportError."""
    view, gather = (backend.open(paths[role], None) for role in GLUE)
    images, rows, geometry = golden.images, np.arange(len(golden.images))[::-1], config.geometry
    dtype = gather.input_dtype("features")
    low = low_view(images, config.method.downsample, config.preprocessing)
    pairs = [(view.run({"pictures": images})["image"], low.astype(dtype))]
    # Arbitrary numbers, as the engine only moves features and embeddings.
    shape = (len(images), geometry.tokens, geometry.width)
    features, embeddings = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    stage_one = {"scores": golden.scores, "features": features, "embeddings": embeddings}
    for count in sorted({targets.shape[1] for targets in golden.targets}):
        targets = choose_targets(golden.scores[rows], count, config)
        expected = build_request(images, stage_one, rows, targets, config).inputs(config) | {"targets": targets}
        sizes = {"rows": rows, "slots": np.arange(count), "rest": np.arange(geometry.tokens - count)}
        outputs = gather.run({"pictures": images, **stage_one, **sizes})
        pairs += [(outputs[name], value.astype(outputs[name].dtype)) for name, value in expected.items()]
    if not all(np.array_equal(output, value) for output, value in pairs):
        raise ExportError("the glue for devices does not do what the runtime's own does")


def provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    """Describe the bundle's origin for the manifest: names, hashes (of shards by name), no paths of this machine."""
    hashes = {path.name: hash_file(path) for path in checkpoint.files}
    return {
        "checkpoint": checkpoint.title,
        "checkpoint_sha256": next(iter(hashes.values())) if len(hashes) == 1 else hashes,
        "family": checkpoint.family,
        "notes": checkpoint.notes,
        "training": checkpoint.provenance,
        "exported": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "opset": OPSET,
        "versions": {"sacvit-deploy": __version__, "torch": torch.__version__, "onnx": onnx.__version__},
    }
