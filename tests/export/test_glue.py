"""The glue as engines: equal to the runtime's own glue to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.weights import write_graph
from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.contract import GLUE
from sacvit_deploy.errors import ExportError
from sacvit_deploy.export.glue import GatherStage, ViewStage
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.pipeline import check_glue
from sacvit_deploy.glue import build_request
from sacvit_deploy.images.preprocess import low_view
from sacvit_deploy.selection import choose_targets, select_targets
from sacvit_deploy.verification.golden import load_golden

CONFIGS = {
    "224": ModelConfig(Geometry(width=64, depth=1, heads=1, classes=10)),
    "288, corners": ModelConfig(
        Geometry(288, width=64, depth=1, heads=1, classes=10),
        Method(downsample="bilinear_corners", background="features"),
    ),
    "288, window": ModelConfig(
        Geometry(288, width=64, depth=1, heads=1, classes=10), Method(selection="window", region_size=5)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_graphs_equal_the_runtimes_glue(config: ModelConfig, dtype: torch.dtype, tmp_path: Path) -> None:
    """Batches, continuing images and targets of all numbers, more than a window has, too; scores full of ties."""
    view, gather = (
        onnxruntime.InferenceSession(str(write_graph(tmp_path / f"{stage.role}.onnx", trace(stage))))
        for stage in (ViewStage(config, dtype), GatherStage(config, dtype))
    )
    rng, geometry = np.random.default_rng(3), config.geometry
    size, tokens, kind = geometry.image_size, geometry.tokens, torch.empty(0, dtype=dtype).numpy().dtype
    for batch, rows, count in ((1, [0], 1), (3, [2, 0], tokens - 1), (4, [3], tokens // 2), (2, [0, 1], 7)):
        images = rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
        expected = low_view(images, config.method.downsample, config.preprocessing).astype(kind)
        np.testing.assert_array_equal(view.run(None, {"pictures": images})[0], expected)
        scores = rng.integers(0, 9, (batch, tokens)).astype(np.float32)
        features, embeddings = rng.standard_normal((2, batch, tokens, geometry.width)).astype(kind)
        out = {"scores": scores, "features": features, "embeddings": embeddings}
        feed = {**out, "pictures": images, "rows": np.array(rows)}
        feed |= {"slots": np.arange(count), "rest": np.arange(tokens - count)}
        expected_names = [item.name for item in gather.get_outputs()]
        outputs = gather.run(None, {item.name: feed[item.name] for item in gather.get_inputs()})
        targets = choose_targets(scores[rows], count, config)
        request = build_request(images, out, np.array(rows), targets, config).inputs(config) | {"targets": targets}
        for name, value in zip(expected_names, outputs, strict=True):
            np.testing.assert_array_equal(value, request[name].astype(value.dtype), err_msg=name)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-38, 0.5, 0.5 + 2**-24, 1.0]), min_size=49, max_size=49), st.integers(1, 48))
def test_selection_with_ties(scores: list[float], count: int) -> None:
    stage = GatherStage(CONFIGS["224"], torch.float32)
    images, _, rows, _, _, features, embeddings = stage.example()
    given_scores = torch.tensor(scores).repeat(3, 1)
    *_, targets = stage(images, given_scores, rows, torch.arange(count), torch.arange(49 - count), features, embeddings)
    np.testing.assert_array_equal(targets.numpy(), select_targets(given_scores[rows].numpy(), count))


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 1e-38, 1 / 3, 0.5, 0.5 + 2**-24, 1.0]), min_size=49, max_size=49),
    st.integers(1, 7),
    st.integers(1, 48),
)
def test_selection_in_a_window_with_ties(scores: list[float], side: int, count: int) -> None:
    method = Method(selection="window", region_size=side, alpha=0.5, rounding="ceil")
    config = ModelConfig(CONFIGS["224"].geometry, method)
    stage = GatherStage(config, torch.float32)
    images, _, rows, _, _, features, embeddings = stage.example()
    given_scores = torch.tensor([scores, scores[::-1], [1 / 3] * 49])
    *_, targets = stage(images, given_scores, rows, torch.arange(count), torch.arange(49 - count), features, embeddings)
    np.testing.assert_array_equal(targets.numpy(), choose_targets(given_scores[rows].numpy(), count, config))


def test_every_variant_of_a_bundle_has_them(tiny_bundle: Path) -> None:
    for variant in open_bundle(tiny_bundle).manifest.variants.values():
        assert set(GLUE) <= set(variant.files)


def test_export_fails_where_they_differ(tiny_bundle: Path, tmp_path: Path) -> None:
    """Graphs of a model with another background, and of one that preprocesses images in another way."""
    bundle = open_bundle(tiny_bundle)
    config = bundle.manifest.config
    golden = load_golden(tiny_bundle / "golden.npz", config)
    backend = OnnxRuntimeBackend("cpu", 1)
    paths = bundle.checked_files("fp32")
    check_glue(paths, golden, config, backend)
    others = (Method(downsample="bilinear_corners"), Method(background="features"))
    for role, method, stage in zip(GLUE, others, (ViewStage, GatherStage), strict=True):
        other = ModelConfig(config.geometry, method, config.preprocessing)
        path = write_graph(tmp_path / f"{role}.onnx", trace(stage(other, torch.float32)))
        with pytest.raises(ExportError, match="glue for devices"):
            check_glue({**paths, role: path}, golden, config, backend)
