"""Half precision at the edge of its range: a model with outliers as trained ones have them, as large as they can be.

Two outlier channels grow through the residual stream, one MLP unit writes them, one head looks only at the class token.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.errors import ExportError
from sacvit_deploy.export import blocks
from sacvit_deploy.export.blocks import Mlp
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import EEStage, PlainDeiT, SACStage, halve
from sacvit_deploy.export.pipeline import ExportRequest, export_bundle, export_variant
from sacvit_deploy.export.reference import make_golden, shipped_images
from sacvit_deploy.precisions import PRECISIONS

from .making import config_of, images_for, lively_model

EDGE = 65504.0  # the largest number of half precision
WIDTH = 64
UP, DOWN, SINK, SIGNAL = 0, 1, 2, 3  # residual channels: the outliers, what marks the class token, an ordinary one
STEADY = 0.89  # the outliers after LayerNorm
MARK = 20.0  # the class token's mark, in the residual stream; the others' is its negative
COUNT = 40
# Number of images, of COUNT, whose answer may differ.
CHANGED = COUNT // 10


def edge_model(**fields: object) -> ReferenceSACViT:
    """Make three blocks: the first one's MLP, the second one's attention and the third one's bias reach the edge."""
    model = lively_model(config_of(width=WIDTH, heads=2, depth=3, **fields))
    first, second, third = model.layers()
    with torch.no_grad():
        # Every token starts with +-62000 in two channels; block 0 makes it about 105000, block 2 165000.
        model.cls_token[..., :SIGNAL] = 0
        model.pos_embed[..., UP], model.pos_embed[..., DOWN] = 62000, -62000
        model.pos_embed[..., SINK] = -MARK
        model.pos_embed[:, 0, SINK] = MARK
        writers = [model.patch_embed.proj, *(part for b in model.layers() for part in (b.attn.proj, b.mlp.fc2))]
        for layer in [*writers, cast("Mlp", model.reuse_block[1]).fc2]:
            layer.weight *= 0.3  # LayerNorm no longer keeps what is not an outlier from growing
            layer.weight[:SIGNAL] = 0
            layer.bias[:SIGNAL] = 0
        norms = [(first.norm1, 62000), (first.norm2, 62000), (second.norm1, 105000), (second.norm2, 105000)]
        norms += [(third.norm1, 105000), (third.norm2, 105000), (model.norm, 165000)]
        for norm, outlier in norms:
            spread = outlier * (2 / WIDTH) ** 0.5  # standard deviation of a token
            norm.weight[SIGNAL:] *= spread
            norm.weight[SINK], norm.bias[:SIGNAL] = spread / MARK, 0
            norm.weight[:SINK] = STEADY * spread / outlier

        hidden = first.mlp.fc1
        hidden.weight[0] = 0
        hidden.weight[0, UP], hidden.weight[0, SIGNAL], hidden.bias[0] = 65000, 2000, 0
        first.mlp.fc2.weight[:, 0] = 0
        first.mlp.fc2.weight[UP, 0], first.mlp.fc2.weight[DOWN, 0] = 0.78, -0.78

        # Head 0: queries all alike, keys that tell the class token from the others, a large value.
        query, key, value = 0, WIDTH, 2 * WIDTH
        qkv = second.attn.qkv
        qkv.weight[[query, key, value]] = 0
        qkv.bias[[query, key, value]] = 0
        qkv.bias[query], qkv.weight[key, SINK] = 2000, 178
        qkv.weight[value, DOWN], qkv.weight[value, SIGNAL] = -65000, 1000
        second.attn.proj.weight[:, 0] *= 1e-4

        third.mlp.fc2.bias[UP], third.mlp.fc2.bias[DOWN] = 60000, -60000
    return model


def naive_half(model: ReferenceSACViT) -> ReferenceSACViT:
    """Convert everything to half precision, as is often done."""
    return copy.deepcopy(model).half()


def test_the_model_reaches_the_edge_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the tests below, which would show nothing otherwise."""
    model = edge_model()
    reach: dict[str, float] = {}

    def note(name: str, value: Tensor) -> None:
        reach[name] = max(reach.get(name, 0.0), float(value.abs().max()))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        note("scaled logits", q @ k.transpose(-2, -1))
        note("bare logits", q @ k.transpose(-2, -1) * q.shape[-1] ** 0.5)
        note("values", v)
        return real(q, k, v)

    real = blocks.attend
    monkeypatch.setattr(blocks, "attend", attend)
    for block in model.layers():
        block.mlp.fc1.register_forward_hook(lambda module, given, out: note("hidden", out))
        block.norm2.register_forward_hook(lambda module, given, out: note("residual", given[0]))
        for part in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
            part.register_forward_hook(lambda module, given, out: note("products", out))
            note("weights", part.weight.detach())
            note("weights", part.bias.detach())
    with torch.no_grad():
        out = model(images_for(model.config, COUNT))
    note("embeddings", out.ee.embeddings)
    for name in ("embeddings", "scaled logits", "values", "hidden", "products", "weights"):
        assert 0.9 * EDGE < reach[name] < 0.999 * EDGE, (name, reach)
    assert min(reach["bare logits"], reach["residual"]) > 1.2 * EDGE
    # And it tells images apart: one answer for all would always agree.
    for logits in (out.ee.logits, out.logits):
        assert logits.argmax(dim=1).bincount().max() < COUNT - CHANGED


def test_everything_in_half_precision_overflows() -> None:
    model = edge_model()
    images = images_for(model.config, 2)
    half = naive_half(model)
    with torch.no_grad():
        assert not half.stage_one(model.downsample(images).half()).logits.isfinite().all()
        assert not PlainDeiT(half)(images.half()).isfinite().all()


@pytest.mark.parametrize("fields", [{}, {"class_token": "union"}, {"attention": "global"}])
def test_halved_stages_do_not_overflow_in_any_step(fields: dict[str, object]) -> None:
    """In torch, which rounds each step's result to half; ONNX Runtime computes several steps in fp32 on a CPU."""
    model = edge_model(**fields)
    images = images_for(model.config, COUNT)
    half = halve(model)
    with torch.no_grad():
        expected, low = model(images), model.downsample(images)
        outputs = EEStage(half)(low.half())
        assert all(value.isfinite().all() for value in outputs)
        compare(outputs[0].numpy(), expected.ee.logits)
        compare(PlainDeiT(half)(images.half()).numpy(), PlainDeiT(model)(images))
        ee = expected.ee
        ee = ee._replace(features=ee.features.half(), embeddings=ee.embeddings.half())
        compare(half.stage_two_from(images.half(), ee, expected.targets).numpy(), expected.logits)


def compare(logits: np.ndarray, expected: Tensor) -> None:
    """Expect finite logits [B,C], within the fp16 tolerance of the largest, and equal answers for 9 images in 10."""
    wanted = expected.numpy()
    assert np.isfinite(logits).all()
    assert np.abs(logits - wanted).max() <= PRECISIONS["fp16"].tolerance * np.abs(wanted).max()
    assert (logits.argmax(axis=1) != wanted.argmax(axis=1)).sum() <= CHANGED


@pytest.mark.slow
def test_engines_at_the_edge_agree_with_the_reference(tmp_path: Path) -> None:
    model = edge_model()
    golden = make_golden(model, shipped_images())
    output = io.StringIO()
    # The export's own parity check passes, too. What is laid out for a GPU has a residual stream in half precision.
    variant = export_variant(tmp_path, model, "fp16", golden, 1, Progress(output))
    assert "note: without engines laid out for a GPU, which then runs the plain ones: " in output.getvalue()
    assert set(variant.files) == {"ee", "sac", "deit", "view", "gather", "weights"}
    assert {path.name for path in tmp_path.iterdir()} == {entry.path for entry in variant.files.values()}
    paths = {role: tmp_path / f"{role}.fp16.onnx" for role in ("ee", "sac", "deit")}
    paths["weights"] = tmp_path / "weights.fp16.bin"
    backend = OnnxRuntimeBackend("cpu", 1)
    cascade = Cascade(backend, paths, model.config)
    images = images_for(model.config, COUNT)
    with torch.no_grad():
        expected = model(images)
        plain = PlainDeiT(model)(images)
    out = cascade.stage_one(model.downsample(images).numpy())
    assert all(np.isfinite(value).all() for value in out.values())
    compare(out["logits"], expected.ee.logits)
    compare(backend.open(paths["deit"], paths["weights"]).run({"image": images.numpy()})["logits"], plain)
    names, given = SACStage(model).inputs, inputs_of_stage_two(model, images, out, expected.targets)
    compare(cascade.stage_two(dict(zip(names, given, strict=True))), expected.logits)
    # The files node by node, each result rounded to half, on two images: it is slow.
    feeds = {"ee": {"image": model.downsample(images[:2]).half().numpy()}}
    feeds["sac"] = {
        name: value[:2].astype(np.int64 if name == "positions" else np.float16)
        for name, value in zip(names, given, strict=True)
    }
    for role, reference in (("ee", expected.ee.logits[:2]), ("sac", expected.logits[:2])):
        logits = np.asarray(ReferenceEvaluator(str(paths[role])).run(["logits"], feeds[role])[0])
        assert np.abs(logits - reference.numpy()).max() <= PRECISIONS["fp16"].tolerance * reference.abs().max()


def inputs_of_stage_two(
    model: ReferenceSACViT, images: Tensor, out: dict[str, np.ndarray], targets: Tensor
) -> tuple[np.ndarray, ...]:
    """Make stage 2's inputs from the EE engine's half-precision outputs, as the runtime would."""
    seen: list[tuple[np.ndarray, ...]] = []

    def stage_two(*inputs: Tensor, clusters: bool) -> None:
        seen.append(tuple(value.numpy() for value in inputs))

    asked = copy.deepcopy(model)
    asked.stage_two = stage_two  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        ee = asked.stage_one(asked.downsample(images))
        ee = ee._replace(**{name: torch.from_numpy(out[name]) for name in ("features", "embeddings")})
        asked.stage_two_from(images, ee, targets)
    return seen[0]


@pytest.mark.parametrize(
    "name",
    ["patch_embed.proj.weight", "blocks.1.attn.qkv.weight", "blocks.0.mlp.fc2.bias", "reuse_block.1.fc1.weight"],
)
def test_a_weight_beyond_the_range_is_refused_by_name(name: str) -> None:
    model = lively_model(config_of(depth=2))
    dict(model.named_parameters())[name].data.flatten()[3] = -65536.0
    with pytest.raises(ExportError, match=f"can't hold `{name}`, which reaches 65536 .* without --fp16"):
        halve(model)


def test_what_rounds_to_the_edge_and_what_stays_in_fp32_is_not_refused() -> None:
    model = lively_model(config_of(depth=2))
    with torch.no_grad():
        model.layers()[0].mlp.fc1.weight[0, 0] = 65519.0
        model.head.weight[0, 0] = 1e6
        model.norm.weight[0] = 1e6
    assert halve(model).layers()[0].mlp.fc1.weight[0, 0] == EDGE


def test_an_export_with_such_a_weight_leaves_nothing(tmp_path: Path) -> None:
    model = lively_model(config_of(depth=1))
    with torch.no_grad():
        model.layers()[0].attn.proj.weight[0, 0] = 1e5
    save_checkpoint(tmp_path / "large.safetensors", model)
    request = ExportRequest(tmp_path / "large.sacvit", ("fp16",))
    with pytest.raises(ExportError, match="`blocks.0.attn.proj.weight`, which reaches 100000 "):
        export_bundle(load_checkpoint(tmp_path / "large.safetensors"), request, Progress(io.StringIO()))
    assert [path.name for path in tmp_path.iterdir()] == ["large.safetensors"]
