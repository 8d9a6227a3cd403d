"""Engines laid out for a GPU: the reference's answers, few nodes, the plain engines' weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import Tensor

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.manifest import FileEntry, Variant
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.confidence import NEAR, softmax
from sacvit_deploy.contract import BASELINE, FOR_GPU, STAGES, engine_contract
from sacvit_deploy.export.blocks import patchify
from sacvit_deploy.export.fused import DOMAIN
from sacvit_deploy.export.gpu_layout import GpuDeiT, GpuEE, GpuModule, GpuSAC
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.model import ReferenceSACViT, background_tokens, child_positions, gather
from sacvit_deploy.export.modules import PlainDeiT, halve
from sacvit_deploy.export.nodes import count_nodes
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.verification.parity import measure_parity
from tests.data import record

from .conftest import Exported
from .making import config_of, images_for, lively_model

ENGINES = (GpuEE, GpuSAC, GpuDeiT)
Array = npt.NDArray[Any]
Run = Callable[..., list[Array]]


def runner(engine: GpuModule) -> Run:
    """Trace an engine and open it in ONNX Runtime on the CPU; returns what runs it on inputs in order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    graph = ir.to_proto(trace(engine)).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(*inputs: Tensor) -> list[Array]:
        names = engine_contract(engine.role, engine.config).inputs
        feed = dict(zip(names, (value.numpy() for value in inputs), strict=True))
        return list(session.run(list(engine.outputs), feed))

    return run


def error(values: Array, expected: Tensor) -> float:
    assert values.shape == tuple(expected.shape)
    return float(np.abs(values.astype(np.float64) - expected.numpy()).max() / expected.abs().max())


def check_confidence(logits: Array, confidence: Array) -> None:
    """It is as near to the exact one as the gate relies on."""
    expected = np.stack([softmax(logits).max(axis=1), logits.sum(axis=1)], axis=1)
    np.testing.assert_allclose(confidence, expected, atol=NEAR / 10, rtol=1e-4)


def stage_two_inputs(model: ReferenceSACViT, images: Tensor, alpha: float) -> tuple[tuple[Tensor, ...], Tensor]:
    """Make stage 2's inputs and the logits it should give."""
    out, config = model(images, alpha), model.config
    children = child_positions(out.targets, config.geometry.grid)
    patches = gather(patchify(images, config.geometry.patch_size), children)
    source = out.ee.embeddings if config.method.background == "embeddings" else out.ee.features
    background = gather(source, background_tokens(out.targets, config.geometry.tokens))
    return (patches, children, gather(out.ee.features, out.targets), background), out.logits


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"class_token": "union", "image_size": 288, "fusion": "none", "registers": 1},
        {"attention": "global", "positions": "separate", "score_first_block": 2},
        {"fusion": "expand", "background": "features", "registers": 2, "pre_norm": True},
        {"score_beta": 0.0, "heads": 1, "norm_eps": 1e-3},
    ],
)
def test_the_fp32_twin_answers_like_the_reference(fields: dict[str, Any]) -> None:
    """In fp32, which ONNX Runtime has all these operators in on the CPU: every choice of the method, open sizes."""
    model = lively_model(config_of(depth=4, **fields))
    images, tolerance = images_for(model.config, 3), PRECISIONS["fp32"].tolerance
    ee, sac, deit = (runner(engine(model)) for engine in ENGINES)
    for part in (images[:1], images):
        with torch.no_grad():
            expected = model.stage_one(model.downsample(part))
            *outputs, confidence = ee(model.downsample(part))
            for values, wanted in zip(outputs, expected, strict=True):
                assert error(values, wanted) <= tolerance
            check_confidence(outputs[0], confidence)
            logits, confidence = deit(part)
            assert error(logits, PlainDeiT(model)(part)) <= tolerance
            check_confidence(logits, confidence)
            for alpha in (0.1, 0.5, 0.9):
                inputs, expected_logits = stage_two_inputs(model, part, alpha)
                logits, confidence = sac(*inputs)
                assert error(logits, expected_logits) <= tolerance
                check_confidence(logits, confidence)


# Per depth, the nodes of DeiT, EE and SAC: the example model's 6 and DeiT-S's 12; the width changes no node.
@pytest.mark.slow
@pytest.mark.parametrize(("depth", "most"), [(6, (65, 95, 115)), (12, (105, 145, 155))])
def test_there_are_few_nodes(depth: int, most: tuple[int, int, int]) -> None:
    model = halve(lively_model(config_of(depth=depth)))
    for engine, limit in zip((GpuDeiT, GpuEE, GpuSAC), most, strict=True):
        graph = trace(engine(model)).graph
        kinds = [node.op_type for node in graph]
        assert len(kinds) <= limit, engine
        # The class token's logits and confidence, mask and mean of the clusters, stage 1's scores; none in a block.
        assert kinds.count("Cast") <= 4 and kinds.count("Softmax") <= 2 and "Erf" not in kinds
        assert kinds.count("SkipLayerNormalization") == 2 * depth


@pytest.mark.slow
def test_a_bundle_has_the_layout_beside_the_plain_engines(plain: Exported) -> None:
    files = plain.bundle.variant("fp16").files
    engines = (*STAGES, BASELINE)
    assert {role for role in files if role.endswith(FOR_GPU)} == {role + FOR_GPU for role in engines}
    assert not any(role.endswith(FOR_GPU) for role in plain.bundle.variant("fp32").files)
    plain_paths = plain.bundle.checked_files("fp16")
    paths = plain.bundle.checked_files("fp16", for_gpu=True)
    assert set(paths) == set(plain_paths) == {*engines, "view", "gather", "weights"}
    changed = {role for role in paths if paths[role] != plain_paths[role]}
    assert changed == set(engines)
    assert plain.bundle.checked_files("fp32", for_gpu=True) == plain.bundle.checked_files("fp32")
    counts = count_nodes(plain.bundle)
    for role in engines:
        domains = {node.domain for node in onnx.load(plain_paths[role], load_external_data=False).graph.node}
        assert DOMAIN not in domains  # other libraries than ONNX Runtime open the plain engines
        assert counts[paths[role].name].total() < counts[plain_paths[role].name].total()


@pytest.mark.slow
def test_its_matrices_are_the_plain_ones(plain: Exported) -> None:
    """Stored once: of the weights file, the layout adds half-precision norms, biases and positions alone."""

    def places(path: Path) -> dict[str, tuple[str, ...]]:
        graph = onnx.load(path, load_external_data=False).graph
        outside = [tensor for tensor in graph.initializer if tensor.external_data]
        return {t.name: tuple(entry.value for entry in t.external_data) for t in outside if len(t.dims) == 2}

    plain_paths = plain.bundle.checked_files("fp16")
    paths = plain.bundle.checked_files("fp16", for_gpu=True)
    for role in (*STAGES, BASELINE):
        before, now = places(plain_paths[role]), places(paths[role])
        named = {name for name in before if "." in name}
        assert {f"blocks.1.{name}.weight.T" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")} <= named
        assert {name: now[name] for name in named} == {name: before[name] for name in named}
    geometry = plain.config.geometry
    tables = 3 * (5 * geometry.tokens + 2) * geometry.width * 2  # positions of both stages, and of DeiT
    vectors = geometry.depth * (8 * geometry.width + geometry.hidden) * 2 + 8 * 4096  # and the ends of pages
    matrices = sum(value.nbytes for name, value in halve(plain.model).state_dict().items() if value.ndim > 1)
    assert paths["weights"].stat().st_size <= matrices + 2 * (tables + vectors)


@pytest.mark.slow
def test_the_half_precision_layout_on_the_cpu(plain: Exported) -> None:
    """ONNX Runtime computes attention and GELU through casts there; what is added up and normalised is in half."""
    paths = plain.bundle.checked_files("fp16", for_gpu=True)
    cascade = Cascade(plain.cascade("fp16").backend, paths, plain.config)
    parity = measure_parity(cascade, plain.golden, "fp16", (1, 2, 7))
    assert parity.passed and parity.error > 0
    assert "fp16, laid out for a GPU: parity" in plain.output


def test_a_bundle_without_the_layout_gives_the_plain_engines_for_a_gpu() -> None:
    before = open_bundle(record.BEFORE)
    assert before.checked_files("fp16", for_gpu=True) == before.checked_files("fp16")
    held = before.held_files("fp16", for_gpu=True)
    assert {role: file.name for role, file in held.items()}["ee"] == "ee.fp16.onnx"


def test_the_engine_for_a_gpu_takes_the_plain_ones_place() -> None:
    def entry(name: str) -> FileEntry:
        return FileEntry(name, "0" * 64, 1)

    variant = Variant({role: entry(role) for role in ("ee", "sac", "weights", "ee-gpu")})
    assert {role: file.path for role, file in variant.engine_files().items()} == {
        "ee": "ee",
        "sac": "sac",
        "weights": "weights",
    }
    assert {role: file.path for role, file in variant.engine_files(for_gpu=True).items()} == {
        "ee": "ee-gpu",
        "sac": "sac",
        "weights": "weights",
    }


def test_the_nodes_of_a_bundle_are_counted() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sacvit_deploy.export.nodes", record.BEFORE], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    nodes = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:]}
    graph = onnx.load(record.BEFORE / "sac.int8.onnx", load_external_data=False).graph
    assert nodes["sac.int8.onnx"] == str(len(graph.node))
    assert {"ee.fp32.onnx", "deit.fp16.onnx", "gather.fp32.onnx"} <= set(nodes) and "weights.fp32.bin" not in nodes
