"""Modules that are traced into engines."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from sacvit_deploy.export.modules import EEStage, PlainDeiT, SACStage, dtype_of, halve, random_model

from .making import config_of, images_for, lively_model
from .naive import Naive


@pytest.mark.parametrize(
    "fields",
    [{}, {"image_size": 288}, {"positions": "separate", "heads": 1}, {"attention": "global", "class_token": "union"}],
)
def test_plain_deit_is_a_plain_deit(fields: dict[str, object]) -> None:
    config = config_of(depth=2, **fields)
    model = lively_model(config).double()
    images = images_for(config).double()
    naive = Naive({key: value.numpy() for key, value in model.state_dict().items()}, config.to_dict())
    with torch.no_grad():
        logits = PlainDeiT(model)(images).numpy()
    expected = np.stack([naive.deit(image) for image in images.numpy()])
    assert np.abs(logits - expected).max() < 3e-6 * np.abs(expected).max()


def test_stages_give_what_the_reference_gives() -> None:
    model = lively_model(config_of())
    images = images_for(model.config)
    with torch.no_grad():
        out = model(images)
        logits, scores, features, embeddings = EEStage(model)(model.downsample(images))
    assert torch.equal(logits, out.ee.logits)
    assert torch.equal(scores, out.ee.scores)
    assert torch.equal(features, out.ee.features)
    assert torch.equal(embeddings, out.ee.embeddings)


def test_halve_halves_the_products_and_nothing_else() -> None:
    model = lively_model(config_of())
    before = copy.deepcopy(model.state_dict())
    half = halve(model)
    linear = ("patch_embed.proj", "attn.qkv", "attn.proj", "fc1", "fc2")
    for name, value in half.state_dict().items():
        halved = name.rsplit(".", 1)[0].endswith(linear)
        assert value.dtype == (torch.float16 if halved else torch.float32), name
        assert torch.equal(value, before[name].to(value.dtype)), name
    whole = {name for name, value in half.state_dict().items() if value.dtype == torch.float32}
    assert {"cls_token", "pos_embed", "norm.weight", "blocks.0.norm1.bias", "reuse_block.0.weight"} <= whole
    assert {"head.weight", "head.bias"} <= whole
    assert (dtype_of(half), dtype_of(model)) == (torch.float16, torch.float32)


def test_halve_leaves_the_model_itself_alone() -> None:
    model = lively_model(config_of())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    halve(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("fields", [{}, {"class_token": "union", "background": "features"}, {"fusion": "none"}])
def test_half_stages_take_and_give_half_tensors_but_fp32_logits_and_scores(fields: dict[str, object]) -> None:
    model = lively_model(config_of(**fields))
    half = halve(model)
    images = images_for(model.config)
    with torch.no_grad():
        whole = model(images)
        logits, scores, features, embeddings = EEStage(half)(model.downsample(images).half())
    assert (logits.dtype, scores.dtype) == (torch.float32, torch.float32)
    assert (features.dtype, embeddings.dtype) == (torch.float16, torch.float16)
    assert (logits - whole.ee.logits).abs().max() < 2e-2 * whole.ee.logits.abs().max()
    example = [value.half() if value.is_floating_point() else value for value in SACStage(half).example()]
    assert [value.dtype for value in SACStage(half).example()] == [value.dtype for value in example]
    with torch.no_grad():
        assert SACStage(half)(*example).dtype == torch.float32


def test_half_precision_survives_activations_beyond_its_range() -> None:
    """The residual stream stays in fp32: a plain .half() would overflow at 65504."""
    model = lively_model(config_of(fusion="none"))
    with torch.no_grad():
        model.pos_embed *= 2e5
        images = images_for(model.config)
        whole, half = model.stage_one(model.downsample(images)), halve(model).stage_one(model.downsample(images).half())
    assert whole.embeddings.abs().max() > 65504
    assert (half.logits - whole.logits).abs().max() < 2e-2 * whole.logits.abs().max()


def test_an_empty_model_is_the_same_for_the_same_seed() -> None:
    config = config_of()
    one, two, other = (random_model(config, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["pos_embed"], other["pos_embed"])
    assert not random_model(config).training
