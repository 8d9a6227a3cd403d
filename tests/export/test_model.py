"""The reference model against a second implementation that shares no code with it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.export.blocks import patchify
from sacvit_deploy.export.model import (
    ReferenceSACViT,
    child_positions,
    gather,
    score_weights,
)
from sacvit_deploy.export.policies import select_targets

from .making import config_of, images_for, lively_model
from .naive import Naive

# Both sides compute in fp64, but for the reference's softmax, scores and logits, which it casts to fp32.
TOLERANCE = 3e-6

# Every field of the method and every size, one changed at a time from the default, then a few together.
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "size-288": {"image_size": 288},
    "one-head": {"heads": 1},
    "four-heads": {"heads": 4},
    "depth-1": {"depth": 1},
    "depth-5": {"depth": 5},
    "narrow-mlp": {"mlp_ratio": 2.0},
    "patch-8": {"image_size": 112, "patch_size": 8},
    "many-classes": {"classes": 1000},
    "bilinear-corners": {"downsample": "bilinear_corners"},
    "bilinear-corners-288": {"downsample": "bilinear_corners", "image_size": 288},
    "separate": {"positions": "separate"},
    "separate-288": {"positions": "separate", "image_size": 288},
    "scores-from-block-0": {"score_first_block": 0},
    "scores-from-the-last-block": {"score_first_block": 3},
    "beta-half": {"score_beta": 0.5},
    "beta-zero": {"score_beta": 0.0},
    "few-targets": {"alpha": 0.1},
    "many-targets": {"alpha": 0.9},
    "ceil": {"rounding": "ceil"},
    "expand": {"fusion": "expand"},
    "no-fusion": {"fusion": "none"},
    "features": {"background": "features"},
    "union": {"class_token": "union"},
    "global": {"attention": "global"},
    "window": {"selection": "window", "region_size": 3},
    "whole-window": {"selection": "window", "region_size": 4, "alpha": 1.0},
    "lf-vit-288": {
        "image_size": 288,
        "downsample": "bilinear_corners",
        "positions": "separate",
        "attention": "global",
        "rounding": "ceil",
        "selection": "window",
        "alpha": 0.88,
    },
    "cf-vit-288": {
        "image_size": 288,
        "downsample": "bilinear_corners",
        "positions": "separate",
        "attention": "global",
        "rounding": "ceil",
    },
    "registers": {"registers": 4},
    "registers-union": {"registers": 2, "class_token": "union"},
    "registers-global": {"registers": 1, "attention": "global"},
    "registers-separate": {"registers": 3, "positions": "separate"},
    "pre-norm": {"pre_norm": True},
    "pre-norm-registers": {"pre_norm": True, "registers": 2},
    "large-eps": {"norm_eps": 0.1},
    "all-the-other-choices": {
        "downsample": "bilinear_corners",
        "positions": "separate",
        "score_first_block": 2,
        "score_beta": 0.7,
        "alpha": 0.3,
        "rounding": "ceil",
        "fusion": "expand",
        "background": "features",
        "class_token": "union",
    },
}
# Choices that leave the weights' shapes alone: made wrongly, they must show.
VISIBLE = [
    "bilinear-corners",
    "scores-from-block-0",
    "scores-from-the-last-block",
    "beta-half",
    "beta-zero",
    "few-targets",
    "many-targets",
    "ceil",
    "features",
    "union",
    "global",
    "window",
    "large-eps",
]


def double_model(config: ModelConfig, seed: int = 0) -> ReferenceSACViT:
    """Make the reference in fp64, so that a difference is one in meaning and not in rounding."""
    return lively_model(config, seed).double()


def naive_of(model: ReferenceSACViT) -> Naive:
    return Naive({key: value.numpy() for key, value in model.state_dict().items()}, model.config.to_dict())


def assert_close(values: torch.Tensor, expected: npt.ArrayLike, tolerance: float = TOLERANCE) -> None:
    wanted = np.asarray(expected)
    assert values.shape == wanted.shape
    error = np.abs(values.detach().numpy() - wanted).max() / np.abs(wanted).max()
    assert error <= tolerance, f"off by {error:.1e} of the largest value"


@pytest.mark.parametrize("case", CASES)
def test_both_stages_equal_a_naive_implementation(case: str) -> None:
    model = double_model(config_of(**CASES[case]))
    naive = naive_of(model)
    images = images_for(model.config).double()
    with torch.no_grad():
        outputs = model(images)
    for row, image in enumerate(images.numpy()):
        one = naive.stage_one(image)
        targets = naive.targets(one.scores)
        assert_close(outputs.ee.logits[row], one.logits)
        assert_close(outputs.ee.features[row], one.features)
        assert_close(outputs.ee.embeddings[row], one.embeddings)
        # The reference leaves a common factor of the scores out: ratios and order stay.
        scores = outputs.ee.scores[row].numpy()
        assert_close(torch.from_numpy(scores / scores.sum()), one.scores / one.scores.sum())
        assert np.array_equal(np.argsort(-scores), np.argsort(-one.scores))
        assert outputs.targets[row].tolist() == targets
        assert_close(outputs.logits[row], naive.stage_two(image, one, targets))


@pytest.mark.parametrize("case", VISIBLE)
def test_a_choice_of_the_method_changes_the_answer(case: str) -> None:
    """Guards the test above: with the wrong choice it would fail."""
    changed = config_of(**CASES[case])
    default = double_model(config_of())
    other = ReferenceSACViT(changed).eval().double()
    other.load_state_dict(default.state_dict())
    images = images_for(changed, count=1).double()
    with torch.no_grad():
        one, two = default(images), other(images)
    if case.startswith(("scores", "beta")):
        assert not torch.equal(torch.argsort(one.ee.scores), torch.argsort(two.ee.scores))
    else:
        assert (one.logits - two.logits).abs().max() > 1000 * TOLERANCE * one.logits.abs().max()


@pytest.mark.parametrize("alpha", [0.03, 0.3, 0.5, 0.7, 0.97])
@pytest.mark.parametrize("size", [224, 288])
def test_alpha_can_be_chosen_for_each_call(alpha: float, size: int) -> None:
    model = double_model(config_of(image_size=size, depth=2))
    naive = naive_of(model)
    images = images_for(model.config, count=1).double()
    with torch.no_grad():
        outputs = model(images, alpha)
    image = images[0].numpy()
    one = naive.stage_one(image)
    targets = naive.targets(one.scores, alpha)
    assert outputs.targets[0].tolist() == targets
    assert_close(outputs.logits[0], naive.stage_two(image, one, targets))


@pytest.mark.parametrize("class_token", ["mean", "union"])
def test_without_clusters_stage_two_lets_all_tokens_see_each_other(class_token: str) -> None:
    model = double_model(config_of(class_token=class_token))
    naive = naive_of(model)
    images = images_for(model.config, count=1).double()
    with torch.no_grad():
        ee = model.stage_one(model.downsample(images))
        targets = select_targets(ee.scores, 24)
        unclustered = model.stage_two_from(images, ee, targets, clusters=False)
        clustered = model.stage_two_from(images, ee, targets)
    one = naive.stage_one(images[0].numpy())
    expected = naive.stage_two(images[0].numpy(), one, targets[0].tolist(), clusters=False)
    assert_close(unclustered[0], expected)
    assert (unclustered - clustered).abs().max() > 0.01


def test_an_image_gets_the_same_answer_alone_and_in_a_batch() -> None:
    model = double_model(config_of())
    images = images_for(model.config, count=5).double()
    with torch.no_grad():
        together = model(images)
        for row in range(5):
            alone = model(images[row : row + 1])
            assert alone.targets[0].tolist() == together.targets[row].tolist()
            assert_close(alone.logits[0], together.logits[row])
            assert_close(alone.ee.logits[0], together.ee.logits[row])


@pytest.mark.parametrize(
    ("depth", "first", "beta"),
    [(12, None, 0.99), (12, 0, 0.99), (12, 11, 0.99), (4, None, 0.5), (4, 2, 0.0), (1, 0, 0.9)],
)
def test_score_weights_are_the_unrolled_moving_average(depth: int, first: int | None, beta: float) -> None:
    config = config_of(depth=depth, score_first_block=first, score_beta=beta)
    start = depth // 4 if first is None else first
    unrolled = []
    for one in range(depth):
        average = 0.0
        for block in range(start, depth):
            average = beta * average + (1 - beta) * (block == one)
        unrolled.append(average)
    assert score_weights(config) == pytest.approx(np.array(unrolled) / sum(unrolled))


def test_deit_s_scores_use_blocks_three_to_eleven() -> None:
    weights = score_weights(config_of(depth=12))
    assert [block for block, weight in enumerate(weights) if weight > 0] == list(range(3, 12))
    assert sum(weights) == pytest.approx(1)
    assert all(earlier / later == pytest.approx(0.99) for earlier, later in itertools.pairwise(weights[3:]))


def test_scores_stay_in_fp32_where_the_network_is_half() -> None:
    model = lively_model(config_of()).half()
    with torch.no_grad():
        out = model.stage_one(torch.zeros(1, 3, 112, 112, dtype=torch.float16))
    assert out.scores.dtype == out.logits.dtype == torch.float32


@pytest.mark.parametrize("grid", [2, 7, 9])
def test_children_cover_the_same_part_of_the_image_as_their_parent(grid: int) -> None:
    positions = child_positions(torch.arange(grid**2)[None], grid)[0].reshape(-1, 4).tolist()
    for parent, children in enumerate(positions):
        row, column = divmod(parent, grid)
        corners = [(2 * row + y) * 2 * grid + 2 * column + x for y in (0, 1) for x in (0, 1)]
        assert children == corners
    assert sorted(itertools.chain(*positions)) == list(range(4 * grid**2))


def test_patches_are_row_major_and_channel_major_inside() -> None:
    image = torch.arange(3 * 64 * 64, dtype=torch.float32).reshape(1, 3, 64, 64)
    patches = patchify(image, 16)
    assert patches.shape == (1, 16, 768)
    assert torch.equal(patches[0, 6].reshape(3, 16, 16), image[0, :, 16:32, 32:48])


def test_gather_takes_rows_of_each_image() -> None:
    tokens = torch.arange(2 * 5 * 3).reshape(2, 5, 3)
    taken = gather(tokens, torch.tensor([[4, 0], [1, 1]]))
    assert torch.equal(taken, torch.stack([tokens[0, [4, 0]], tokens[1, [1, 1]]]))


def test_fusion_gives_each_child_its_own_share_only_with_expand() -> None:
    for fusion, distinct in (("none", 1), ("repeat", 1), ("expand", 4)):
        model = lively_model(config_of(fusion=fusion))
        features = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            given = model.fuse(torch.zeros(1, 12, 32), features).reshape(3, 4, 32)
        assert len(torch.unique(given[0], dim=0)) == distinct
        assert (given == 0).all() == (fusion == "none")


def test_state_dict_names_follow_deit_and_cf_vit() -> None:
    shared, separate = (
        ReferenceSACViT(config_of(depth=1)),
        ReferenceSACViT(config_of(depth=1, positions="separate", fusion="none")),
    )
    block = {
        f"blocks.0.{layer}.{kind}"
        for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for kind in ("weight", "bias")
    }
    common = block | {
        "cls_token",
        *(f"{layer}.{kind}" for layer in ("patch_embed.proj", "norm", "head") for kind in ("weight", "bias")),
    }
    reuse = {f"reuse_block.{layer}.{kind}" for layer in ("0", "1.fc1", "1.fc2") for kind in ("weight", "bias")}
    assert set(shared.state_dict()) == common | reuse | {"pos_embed"}
    assert set(separate.state_dict()) == common | {"pos_embed_list.0", "pos_embed_list.1"}


@pytest.mark.parametrize("case", ["default", "no-fusion", "all-the-other-choices"])
def test_the_reference_trains_every_weight_it_has(case: str) -> None:
    """A weight that no logit depends on would be saved, exported and never used."""
    model = lively_model(config_of(**{**CASES[case], "depth": 3}))
    image = images_for(model.config, count=1)
    ee = model.stage_one(model.downsample(image))
    out = model.stage_two_from(image, ee, select_targets(ee.scores, 3))
    (ee.logits.square().sum() + out.square().sum()).backward()
    idle = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not idle


def test_config_survives_the_trip_through_its_json_form() -> None:
    for fields in CASES.values():
        config = config_of(**fields)
        assert ModelConfig.from_dict(config.to_dict()) == config
