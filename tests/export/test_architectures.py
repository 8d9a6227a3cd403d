"""What only an architecture's name or a config says of a network's arithmetic; and what is said where neither does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.architectures import guess_heads, said_by_name
from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint

from .forwards import Timm, Transformers, Weights, timm_weights, transformers_weights
from .making import cf_vit_weights
from .test_families import assert_same_logits

# As timm 1.0 defines them.
HEADS = {192: 3, 384: 6, 768: 12, 896: 14, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1536: 24, 1664: 16, 1792: 16}
ROTARY = (
    "eva02_tiny_patch14_224",
    "eva02_base_patch16_clip_224",
    "vit_small_patch16_rope_ape_224.naver_in1k",
    "vit_base_patch16_rope_mixed_ape_224",
    "rope_mixed_ape_deit_small_patch16_LS",
    "timm/vit_base_patch16_dinov3.lvd1689m",
    "facebook/dinov3-vits16-pretrain-lvd1689m",
    "vit_pe_core_base_patch16_224",
)
NOT_ROTARY = ("vit_small_patch16_224", "deit_europe_small", "eva_giant_patch14_clip_224", "vit_base_patch14_dinov2")


def load(content: Any, path: Path, **options: Any) -> Checkpoint:
    torch.save(content, path / "a.pth")
    return load_checkpoint(path / "a.pth", **options)


def assumed(loaded: Checkpoint) -> str:
    """Return the one line with all guesses, or nothing where nothing was guessed."""
    lines = [note for note in loaded.notes if "assumed:" in note]
    assert len(lines) < 2
    return lines[0] if lines else ""


@pytest.mark.parametrize("width", HEADS)
def test_heads_are_guessed_as_published_models_have_them(width: int) -> None:
    assert guess_heads(width, 12, 4 * width)[0] == HEADS[width]


def test_heads_of_timms_test_model() -> None:
    assert guess_heads(64, 6, 192)[0] == 2 and guess_heads(64, 12, 256)[0] == 1
    assert guess_heads(64, 12, 256, "test_vit.r160_in1k")[0] == 2
    with pytest.raises(CheckpointError, match="width 200; say --heads"):
        guess_heads(200, 12, 800)


def test_a_wide_network_has_sixteen_heads_and_the_flag_changes_them(tmp_path: Path) -> None:
    weights = timm_weights(32, width=1152, depth=1, patch=8)
    loaded = load(weights, tmp_path)
    assert "heads 16 = those of the published ViTs of width 1152 (--heads to change" in assumed(loaded)
    assert_same_logits(loaded, Timm(weights, heads=16))
    torch.save(weights, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth", heads=18)
    assert "heads" not in assumed(loaded).partition("(its config")[0]
    assert_same_logits(loaded, Timm(weights, heads=18))


@pytest.mark.parametrize("place", ["args", "arch", "hyper_parameters", "config.json"])
@pytest.mark.parametrize("name", ROTARY)
def test_rotary_positions_are_known_by_name(name: str, place: str, tmp_path: Path) -> None:
    contents = {
        "args": {"model": timm_weights(), "args": argparse.Namespace(model=name)},
        "arch": {"state_dict": timm_weights(), "arch": name},
        "hyper_parameters": {"state_dict": timm_weights(), "hyper_parameters": {"model_name": name}},
        "config.json": timm_weights(),
    }
    if place == "config.json":
        (tmp_path / place).write_text(json.dumps({"architecture": name, "pretrained_cfg": {}}))
    source = place if place == "config.json" else f"the checkpoint's {place}"
    with pytest.raises(CheckpointError, match=f"{source} names the architecture `{name}`, whose positions are rotary"):
        load(contents[place], tmp_path)


@pytest.mark.parametrize("name", NOT_ROTARY)
def test_other_names_are_not_taken_for_rotary(name: str, tmp_path: Path) -> None:
    weights = timm_weights()
    assert_same_logits(load({"model": weights, "args": {"model": name}}, tmp_path), Timm(weights, heads=1))


def test_epsilons_by_name() -> None:
    clip = ("vit_base_patch16_clip_224.openai", "timm/vit_huge_patch14_clip_378", "beit3_base_patch16_224")
    assert [said_by_name(name).norm_eps for name in clip] == [1e-5] * 3
    assert [said_by_name(name).norm_eps for name in NOT_ROTARY] == [None] * 4


def small_noise(weights: Weights) -> Weights:
    """Shrink what enters the norms, so that their epsilon shows in the answers."""
    scaled = ("patch_embed", "pos_embed", "cls_token")
    return {name: value * 0.01 if name.startswith(scaled) else value for name, value in weights.items()}


def test_clip_as_a_plain_state_dict_has_torchs_epsilon(tmp_path: Path) -> None:
    weights = small_noise(timm_weights(pre_norm=True))
    loaded = load(weights, tmp_path)
    assert loaded.model.config.geometry.norm_eps == 1e-5
    line = assumed(loaded)
    for words in ("epsilon (`layer_norm_eps`) 1e-05", "exact GELU (OpenAI's CLIP has quick_gelu)", "the class token"):
        assert words in line
    assert_same_logits(loaded, Timm(weights, heads=1, eps=1e-5))
    with pytest.raises(AssertionError):
        assert_same_logits(loaded, Timm(weights, heads=1, eps=1e-6))


def test_all_that_is_assumed_of_a_plain_state_dict_is_one_line(tmp_path: Path) -> None:
    line = assumed(load(timm_weights(width=192), tmp_path))
    assert line.startswith(
        "no file says how it computes; assumed: the class token is what it classifies, no rotary positions, "
        "exact GELU, the norms' epsilon (`layer_norm_eps`) 1e-06, images of 64 pixels, "
        "heads 3 = width / 64 (--heads to change; "
    )


def test_of_a_family_with_published_code_the_heads_alone_are_guessed(tmp_path: Path) -> None:
    line = assumed(load({"model": cf_vit_weights(64), "flop": [1]}, tmp_path))
    assert "assumed: heads 1 = width / 64 (--heads to change" in line


def test_a_config_leaves_nothing_to_assume(tmp_path: Path) -> None:
    config = {"model_type": "vit", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "num_attention_heads": 1}
    (tmp_path / "config.json").write_text(json.dumps({**config, "image_size": 64}))
    assert assumed(load(transformers_weights(), tmp_path)) == ""


@pytest.mark.parametrize("act", ["gelu", "gelu_python"])
def test_exact_gelu_under_both_of_its_names(act: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_act": act, "layer_norm_eps": 1e-12}))
    weights = transformers_weights()
    assert_same_logits(load(weights, tmp_path), Transformers(weights, heads=1, eps=1e-12, body="vit"))


@pytest.mark.parametrize("act", ["gelu_new", "gelu_pytorch_tanh", "gelu_fast", "quick_gelu", "relu", "silu"])
def test_other_activations_are_refused_by_name(act: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "hidden_act": act}))
    known = "" if act in ("relu", "silu") else ", GELU's approximation by "
    with pytest.raises(CheckpointError, match=f"its MLPs use {act}{known}.* by config.json, .*use gelu, the exact"):
        load(transformers_weights(), tmp_path)


def test_quick_gelu_is_known_by_the_architectures_name(tmp_path: Path) -> None:
    content = {"model": timm_weights(pre_norm=True), "args": {"model": "vit_base_patch16_clip_quickgelu_224"}}
    with pytest.raises(CheckpointError, match="use quick_gelu, .*by the checkpoint's args"):
        load(content, tmp_path)


def test_timms_options_for_the_model_are_read(tmp_path: Path) -> None:
    weights, silent = timm_weights(), {"model": "vit_tiny", "crop_pct": None, "gp": None}
    loaded = load({"state_dict": weights, "args": {**silent, "model_kwargs": {"num_heads": 4}}}, tmp_path)
    assert_same_logits(loaded, Timm(weights, heads=4))
    with pytest.raises(CheckpointError, match="its MLPs use relu, by the checkpoint's args"):
        load({"state_dict": weights, "args": {**silent, "model_kwargs": {"act_layer": "relu"}}}, tmp_path)
    for options in ({"gp": "avg"}, {"model_kwargs": {"global_pool": "avg"}}):
        with pytest.raises(CheckpointError, match="averages the patch tokens"):
            load({"state_dict": weights, "args": {**silent, **options}}, tmp_path)
    with pytest.raises(CheckpointError, match="pools by 'map'; only token and avg"):
        load({"state_dict": weights, "args": {**silent, "gp": "map"}}, tmp_path)
