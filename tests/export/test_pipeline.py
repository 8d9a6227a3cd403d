"""Engines against the reference, and exports that fail because they differ."""

from __future__ import annotations

import copy
import dataclasses
import filecmp
import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import ExportError, UsageError
from sacvit_deploy.export import pipeline
from sacvit_deploy.export.blocks import patchify
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.model import ReferenceSACViT, background_tokens, child_positions, gather
from sacvit_deploy.export.modules import EEStage, PlainDeiT, SACStage, StageModule
from sacvit_deploy.export.pipeline import ExportRequest, check_parity, export_bundle
from sacvit_deploy.export.policies import select_targets
from sacvit_deploy.export.reference import (
    ALPHAS,
    BATCHES,
    make_golden,
    normalised,
    random_images,
    shipped_images,
)
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.verification.golden import load_golden
from sacvit_deploy.verification.parity import measure_parity

from .conftest import MODELS, VARIANTS, Exported
from .making import config_of, lively_model
from .test_checkpoint import CFViT

Export = Callable[[str], Exported]
Array = npt.NDArray[Any]
variants = pytest.mark.parametrize(("name", "precision"), VARIANTS)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(engine: onnxruntime.InferenceSession, *inputs: torch.Tensor) -> list[Array]:
    """Run an engine on inputs in the contract's order, cast to its types."""
    feed = {}
    for wanted, given in zip(engine.get_inputs(), inputs, strict=True):
        half = wanted.type == "tensor(float16)"
        feed[wanted.name] = given.numpy().astype(np.float16) if half else given.numpy()
    return list(engine.run(None, feed))


def error(values: Array, expected: torch.Tensor) -> float:
    assert values.shape == tuple(expected.shape)
    return float(np.abs(values.astype(np.float64) - expected.numpy()).max() / expected.abs().max())


def stage_two_inputs(model: ReferenceSACViT, image: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Make the SAC engine's inputs by torch, from the reference's stage 1."""
    geometry = model.config.geometry
    ee = model.stage_one(model.downsample(image))
    children = child_positions(targets, geometry.grid)
    source = ee.embeddings if model.config.method.background == "embeddings" else ee.features
    patches = gather(patchify(image, geometry.patch_size), children)
    return patches, children, gather(ee.features, targets), gather(source, background_tokens(targets, geometry.tokens))


@variants
def test_engines_answer_like_the_reference_on_random_and_real_images(
    name: str, precision: str, exports: Export
) -> None:
    """Engines run by ONNX Runtime alone, without the package's runtime."""
    exported = exports(name)
    model, golden = exported.model, exported.golden
    ee, sac = (session(exported.file(role, precision)) for role in ("ee", "sac"))
    tolerance = PRECISIONS[precision].tolerance
    for kind in ("random", "real"):
        rows = [row for row, golden_kind in enumerate(golden.kinds) if golden_kind == kind]
        assert len(rows) == 7
        for batch in (1, 2, 7):
            image = normalised(golden.images[rows[:batch]], model.config)
            with torch.no_grad():
                expected = model.stage_one(model.downsample(image))
            for output, wanted in zip(run(ee, model.downsample(image)), expected, strict=True):
                assert error(output, wanted) <= tolerance
            for alpha in (0.3, 0.5, 0.9):
                with torch.no_grad():
                    out = model(image, alpha)
                    inputs = stage_two_inputs(model, image, out.targets)
                (logits,) = run(sac, *inputs)
                assert error(logits, out.logits) <= tolerance


@variants
def test_the_baseline_answers_like_a_plain_deit(name: str, precision: str, exports: Export) -> None:
    exported = exports(name)
    engine = session(exported.file("deit", precision))
    image = normalised(exported.golden.images[[0, 7, 13]], exported.config)
    with torch.no_grad():
        expected = PlainDeiT(exported.model)(image)
    (logits,) = run(engine, image)
    assert error(logits, expected) <= PRECISIONS[precision].tolerance


@variants
def test_engines_and_glue_answer_like_the_reference(name: str, precision: str, exports: Export) -> None:
    exported = exports(name)
    parity = measure_parity(exported.cascade(precision), exported.golden, precision, (1, 2, 7))
    assert parity.passed, parity.summary()
    cases = {(case.kind, case.batch, case.alpha) for case in parity.cases}
    assert cases == {(kind, batch, alpha) for kind in ("random", "real") for batch in BATCHES for alpha in ALPHAS}
    if precision == "fp32":
        assert parity.error <= 1e-4
        assert all(case.identical for case in parity.cases)
    else:
        assert min(case.overlap for case in parity.cases) > 0.9


@variants
def test_the_manifest_reports_the_parity_that_was_measured(name: str, precision: str, exports: Export) -> None:
    exported = exports(name)
    reported = exported.bundle.manifest.variants[precision].parity
    parity = measure_parity(exported.cascade(precision), exported.golden, precision, BATCHES)
    assert reported["tolerance"] == PRECISIONS[precision].tolerance
    assert reported["largest_error"] == pytest.approx(parity.error, rel=0.5)
    assert len(reported["cases"]) == len(parity.cases)
    assert f"{precision}: parity with the reference" in exported.output


def test_a_cf_vit_bundle_answers_like_cf_vit_itself(exports: Export) -> None:
    """From the authors' forward pass to the engines and the glue, with nothing of this package between."""
    exported = exports("cf-vit-288")
    weights = torch.load(exported.checkpoint)["model"]
    image = normalised(exported.golden.images, exported.config)
    with torch.no_grad():
        first, important, second = CFViT(weights, 2, 2)(image)
    cascade = exported.cascade("fp32")
    at = exported.golden.alphas.index(0.5)
    golden = dataclasses.replace(
        exported.golden,
        ee_logits=first.numpy(),
        alphas=(0.5,),
        targets=(important.numpy(),),
        sac_logits=(second.numpy(),),
    )
    assert np.array_equal(golden.targets[0], exported.golden.targets[at])
    parity = measure_parity(cascade, golden, "fp32", (7,))
    assert parity.passed, parity.summary()


@pytest.mark.parametrize("count", [1, 2, 17, 24, 25, 47, 48])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["plain", "union-features-expand"])
def test_one_sac_engine_serves_every_number_of_targets(name: str, batch: int, count: int, exports: Export) -> None:
    exported = exports(name)
    model = exported.model
    image = normalised(random_images(batch, 224), model.config)
    with torch.no_grad():
        ee = model.stage_one(model.downsample(image))
        targets = select_targets(ee.scores, count)
        inputs = stage_two_inputs(model, image, targets)
        expected = model.stage_two(*inputs)
    (logits,) = run(session(exported.file("sac", "fp32")), *inputs)
    assert error(logits, expected) <= 1e-4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", [1, 4, 33])
def test_one_ee_engine_serves_every_batch(batch: int, precision: str, plain: Exported) -> None:
    low = torch.randn(batch, 3, 112, 112, generator=torch.Generator().manual_seed(batch))
    with torch.no_grad():
        expected = plain.model.stage_one(low)
    for output, wanted in zip(run(session(plain.file("ee", precision)), low), expected, strict=True):
        assert error(output, wanted) <= PRECISIONS[precision].tolerance


def test_targets_may_be_any_tokens_in_any_order(plain: Exported) -> None:
    """The engine takes positions as they come: a server may ask for tokens of its own choice."""
    image = normalised(random_images(2, 224), plain.config)
    targets = torch.tensor([[48, 0, 7], [3, 2, 1]])
    with torch.no_grad():
        inputs = stage_two_inputs(plain.model, image, targets)
        expected = plain.model.stage_two(*inputs)
    (logits,) = run(session(plain.file("sac", "fp32")), *inputs)
    assert error(logits, expected) <= 1e-4


# The reference's own vectors.


@pytest.mark.parametrize("name", MODELS)
def test_the_bundle_carries_two_random_and_two_real_images_with_the_right_answers(name: str, exports: Export) -> None:
    exported = exports(name)
    golden = load_golden(exported.bundle.path / "golden.npz", exported.bundle.manifest.config)
    assert golden.kinds == ("random", "random", "real", "real")
    image = normalised(golden.images, exported.config)
    with torch.no_grad():
        for number, alpha in enumerate(golden.alphas):
            out = exported.model(image, alpha)
            assert error(golden.ee_logits, out.ee.logits) <= 1e-5
            assert error(golden.scores, out.ee.scores) <= 1e-5
            assert np.array_equal(golden.targets[number], out.targets.numpy())
            assert error(golden.sac_logits[number], out.logits) <= 1e-5


def test_parity_images_are_seven_random_and_seven_real_ones(plain: Exported) -> None:
    golden = plain.golden
    assert golden.kinds == ("random",) * 7 + ("real",) * 7
    assert golden.images.shape == (14, 224, 224, 3)
    assert golden.images.dtype == np.uint8
    assert len({image.tobytes() for image in golden.images}) == 14
    assert [targets.shape for targets in golden.targets] == [(14, 14), (14, 24), (14, 44)]


def test_random_images_are_the_same_everywhere() -> None:
    assert np.array_equal(random_images(2, 64), random_images(2, 64))


@pytest.mark.parametrize("rounding", ["floor", "ceil"])
@pytest.mark.parametrize("size", [64, 96, 128])
def test_small_grids_can_be_checked_too(size: int, rounding: str) -> None:
    """Of four or nine tokens, 0.9 rounded up would be all."""
    model = lively_model(config_of(size, depth=1, rounding=rounding))
    try:
        golden = make_golden(model, shipped_images())
    except UsageError as refused:
        pytest.fail(str(refused))
    assert all(1 <= targets.shape[1] < (size // 32) ** 2 for targets in golden.targets)


# Differences are found, and then nothing is left.


def wrong(model: ReferenceSACViT, name: str, amount: float) -> ReferenceSACViT:
    """Copy a model with one weight row off by `amount` of the largest value."""
    changed = copy.deepcopy(model)
    weight = dict(changed.named_parameters())[name]
    with torch.no_grad():
        weight.view(-1)[:64] += amount * weight.abs().max()
    return changed


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("head.bias", 0.01),
        ("blocks.1.mlp.fc1.weight", 0.1),
        ("blocks.0.attn.qkv.weight", 0.1),
        ("patch_embed.proj.weight", 0.02),
        ("reuse_block.1.fc2.weight", 0.5),
        ("pos_embed", 0.05),
        ("cls_token", 0.02),
        ("head.weight", math.nan),
        ("blocks.1.attn.proj.bias", math.inf),
    ],
)
def test_engines_of_a_slightly_other_model_fail_the_parity_check(name: str, amount: float, plain: Exported) -> None:
    other = wrong(plain.model, name, amount)
    paths = plain.bundle.checked_files("fp32")
    check_parity(paths, plain.model, plain.golden, "fp32", 1)
    with pytest.raises(ExportError, match="fp32 engines do not do what the checkpoint does: largest error"):
        check_parity(paths, other, make_golden(other, shipped_images()), "fp32", 1)


def test_half_precision_engines_of_another_model_fail_the_parity_check(plain: Exported) -> None:
    other = wrong(plain.model, "blocks.0.mlp.fc2.weight", 1.0)
    with pytest.raises(ExportError, match="fp16 engines do not do"):
        golden = make_golden(other, shipped_images())
        check_parity(plain.bundle.checked_files("fp16"), other, golden, "fp16", 1)


def test_other_targets_fail_the_fp32_check_even_with_equal_logits(plain: Exported) -> None:
    """Scores feed the glue and no logit: an engine may be wrong in them alone."""
    golden = plain.golden
    backwards = dataclasses.replace(golden, targets=tuple(np.sort(48 - targets, axis=1) for targets in golden.targets))
    parity = measure_parity(plain.cascade("fp32"), backwards, "fp32", (2,))
    assert not parity.passed
    assert not any(case.identical for case in parity.cases)


@pytest.fixture
def small_checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, lively_model(config_of(128, width=64, heads=1, depth=1)))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("which", [EEStage, SACStage, PlainDeiT])
def test_a_wrongly_traced_engine_fails_the_export_and_leaves_nothing(
    which: type[StageModule], small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(stage: StageModule) -> ir.Model:
        """Trace with one wrong weight in one engine."""
        return trace(which(wrong(stage.model, "blocks.0.mlp.fc2.weight", 0.2)) if isinstance(stage, which) else stage)

    monkeypatch.setattr(pipeline, "trace", careless)
    request = ExportRequest(small_checkpoint.with_suffix(".sacvit"))
    with pytest.raises(ExportError, match="do not do what the checkpoint does|differs from the checkpoint"):
        export_bundle(load_checkpoint(small_checkpoint), request, Progress(io.StringIO()))
    assert list(small_checkpoint.parent.iterdir()) == [small_checkpoint]


@pytest.mark.parametrize("over", ["nothing", "an older bundle"])
@pytest.mark.parametrize(
    "stopped_by", [OSError(28, "No space left on device"), ExportError("parity"), KeyboardInterrupt(), SystemExit(143)]
)
def test_whatever_stops_an_export_leaves_what_was_there(
    stopped_by: BaseException, over: str, small_checkpoint: Path, plain: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Path, *rest: object) -> None:
        (folder / "weights.fp32.bin").write_bytes(bytes(1000))
        raise stopped_by

    monkeypatch.setattr(pipeline, "export_variant", stop)
    request = ExportRequest(small_checkpoint.with_suffix(".sacvit"), replace=True)
    expected = {small_checkpoint}
    if over == "an older bundle":
        shutil.copytree(plain.bundle.path, request.target)
        expected.add(request.target)
    with pytest.raises(ExportError if isinstance(stopped_by, OSError) else type(stopped_by)):
        export_bundle(load_checkpoint(small_checkpoint), request, Progress(io.StringIO()))
    assert set(small_checkpoint.parent.iterdir()) == expected
    if over == "an older bundle":
        assert not filecmp.dircmp(plain.bundle.path, request.target).diff_files
        assert open_bundle(request.target).manifest == plain.bundle.manifest
