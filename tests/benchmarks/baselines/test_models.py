"""SaiT and STViT as engines: what the papers describe, counted as the papers count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.benchmarks.baselines.costs import sait_cost, sait_dense_blocks, stvit_cost
from sacvit_deploy.benchmarks.baselines.models import SaiT, SaiTHead, SaiTTail, STViT, cross, embed, pooling_windows
from sacvit_deploy.bundle.weights import write_engines
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.costs import costs
from sacvit_deploy.export.blocks import attend
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import PlainDeiT, random_model

SMALL = ModelConfig(Geometry(image_size=96, patch_size=16, width=32, depth=4, heads=2, classes=5))
TOKENS = 36


@pytest.fixture(scope="module")
def small() -> ReferenceSACViT:
    model = random_model(SMALL, seed=11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2 and name.startswith("blocks"):
                parameter.mul_(6)  # fresh weights are so small that every token looks alike
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def engines(small: ReferenceSACViT, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    graphs = {"sait": trace(SaiT(small)), "stvit": trace(STViT(small))}
    for graph in graphs.values():
        kinds = {node.op_type for node in graph.graph}
        assert not kinds & {"NonZero", "ScatterND", "ScatterElements", "Where", "Loop", "If"}
    return write_engines(tmp_path_factory.mktemp("baselines"), graphs, "fp32")


def pruned(model: ReferenceSACViT, image: Tensor, kept: int) -> Tensor:
    """SaiT for one image [1,3,S,S], step by step."""
    x = embed(model, image)
    blocks = model.layers()
    dense = sait_dense_blocks(model.config.geometry.depth)
    for block in blocks[:dense]:
        x, attention = block(x)
    ranked = sorted(range(TOKENS), key=lambda at: -float(attention[0, :, 0, 1 + at].mean()))
    x = torch.stack([x[0, 0], *(x[0, 1 + at] for at in sorted(ranked[:kept]))])[None]
    for block in blocks[dense:]:
        x = block(x)[0]
    return model.head(model.norm(x[:, 0]))


@pytest.mark.parametrize("kept", [1, 15, TOKENS])
@torch.no_grad()
def test_sait_keeps_the_best_tokens_of_every_image(
    small: ReferenceSACViT, images: Tensor, engines: dict[str, Path], kept: int
) -> None:
    expected = torch.cat([pruned(small, image[None], kept) for image in images]).numpy()
    slots = torch.arange(kept)
    np.testing.assert_allclose(SaiT(small)(images, slots).numpy(), expected, atol=2e-5)
    engine = OnnxRuntimeBackend("cpu", 1).open(engines["sait"], engines["weights"])
    for batch in (1, 3):
        found = engine.run({"image": images[:batch].numpy(), "slots": slots.numpy()})["logits"]
        np.testing.assert_allclose(found, expected[:batch], atol=2e-5)


@torch.no_grad()
def test_sait_that_keeps_all_is_the_plain_deit(small: ReferenceSACViT, images: Tensor) -> None:
    expected = PlainDeiT(small)(images)
    torch.testing.assert_close(SaiT(small)(images, torch.arange(TOKENS)), expected, atol=2e-5, rtol=0)
    tokens, scores = SaiTHead(small)(images)
    torch.testing.assert_close(SaiTTail(small)(tokens), expected, atol=2e-5, rtol=0)
    assert scores.shape == (3, TOKENS)
    assert ((scores > 0).all() and (scores.sum(dim=1) < 1).all()).item()


@torch.no_grad()
def test_stvit_engine_does_what_its_reference_does(
    small: ReferenceSACViT, images: Tensor, engines: dict[str, Path]
) -> None:
    expected = STViT(small)(images).numpy()
    engine = OnnxRuntimeBackend("cpu", 1).open(engines["stvit"], engines["weights"])
    for batch in (1, 3):
        found = engine.run({"image": images[:batch].numpy()})["logits"]
        np.testing.assert_allclose(found, expected[:batch], atol=2e-5)


@torch.no_grad()
def test_attention_across_sequences_is_self_attention_where_they_are_one(small: ReferenceSACViT) -> None:
    x = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(1))
    attention = small.layers()[0].attn
    expected = attend(*attention.split(x))[0]
    torch.testing.assert_close(attend(*cross(attention, x, x))[0], expected)
    assert attend(*cross(attention, x[:, :2], x))[0].shape == (2, 2, 2, 16)


@given(st.integers(min_value=4, max_value=40), st.integers(min_value=1, max_value=4))
def test_pooling_windows_are_those_of_adaptive_pooling(side: int, cells: int) -> None:
    grid = torch.randn(side * side, generator=torch.Generator().manual_seed(side))
    found = grid[pooling_windows(side, cells)].amax(dim=1)
    torch.testing.assert_close(found, F.adaptive_max_pool2d(grid.reshape(1, side, side), cells).flatten())


# --- MACs


def counted(module: torch.nn.Module, *inputs: Tensor) -> int:
    """Multiply-adds of the matrix products that really run."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("kept", [1, 15, TOKENS])
def test_costs_are_those_of_the_products_that_run(small: ReferenceSACViT, images: Tensor, kept: int) -> None:
    one = images[:1]
    assert counted(PlainDeiT(small), one) == costs(SMALL).deit
    assert counted(SaiT(small), one, torch.arange(kept)) == sait_cost(SMALL.geometry, kept)
    assert counted(STViT(small), one) == stvit_cost(SMALL.geometry)
