"""Classifiers of other families, in the files that their libraries write: the same logits as their own forward pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint
from sacvit_deploy.export.modules import PlainDeiT

from .forwards import Timm, Transformers, Weights, timm_weights, transformers_weights

TIMM: dict[str, dict[str, Any]] = {
    "plain": {},
    "patch-14": {"patch": 14, "size": 112},
    "layer-scale": {"layer_scale": True},
    "layer-scale-no-prefix": {"layer_scale": True, "embed_prefix": False},  # DeiT III
    "registers": {"registers": 4},
    "registers-no-prefix": {"registers": 4, "embed_prefix": False, "layer_scale": True},  # DINOv2 in timm
    "pre-norm": {"pre_norm": True},  # CLIP in timm
    "no-qkv-bias": {"qkv_bias": False},
    "288-pixels": {"size": 288, "depth": 1},
}


def logits_of(loaded: Checkpoint, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return PlainDeiT(loaded.model)(images).double()


def assert_same_logits(loaded: Checkpoint, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
    size = loaded.model.config.geometry.image_size
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(1))
    own = forward(images)
    assert (logits_of(loaded, images) - own).abs().max() < 1e-4 * own.abs().max()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", TIMM)
def test_timm(case: str, suffix: str, tmp_path: Path) -> None:
    weights, path = timm_weights(**TIMM[case]), tmp_path / f"model{suffix}"
    torch.save(weights, path) if suffix == ".pth" else safetensors.torch.save_file(weights, path)
    loaded = load_checkpoint(path)
    assert loaded.family == "deit"
    assert_same_logits(loaded, Timm(weights, heads=1))


def test_layer_scales_under_the_older_name_fold_the_same_way(tmp_path: Path) -> None:
    weights = timm_weights(layer_scale=True)
    older = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for name, v in weights.items()}
    torch.save(older, tmp_path / "deit3.pth")
    loaded = load_checkpoint(tmp_path / "deit3.pth")
    assert any("multiplied 4 layer scales" in note for note in loaded.notes)
    assert_same_logits(loaded, Timm(weights, heads=1))


def test_the_last_norm_may_stand_behind_the_choice_of_the_class_token(tmp_path: Path) -> None:
    """timm's fc_norm with token pooling; only its config.json tells it from mean pooling, which is refused."""
    weights = timm_weights(last_norm="fc_norm")
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors")
    described = '{"architecture": "vit", "num_classes": 5, "global_pool": "token", "pretrained_cfg": {}}'
    (tmp_path / "config.json").write_text(described)
    assert_same_logits(load_checkpoint(tmp_path), Timm(weights, heads=1))


@pytest.mark.parametrize("body", ["vit", "deit"])
@pytest.mark.parametrize("eps", [1e-12, 1e-2])
def test_transformers(eps: float, body: str, tmp_path: Path) -> None:
    weights = transformers_weights(body)
    safetensors.torch.save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(f'{{"model_type": "{body}", "layer_norm_eps": {eps}}}')
    loaded = load_checkpoint(tmp_path)
    assert loaded.model.config.geometry.norm_eps == eps
    assert loaded.model.config.geometry.registers == (body == "deit")
    assert_same_logits(loaded, Transformers(weights, heads=1, eps=eps, body=body))


def test_transformers_without_its_config_takes_its_default_and_says_so(tmp_path: Path) -> None:
    weights = transformers_weights()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    loaded = load_checkpoint(tmp_path)
    assert any("assumed: " in note and "(`layer_norm_eps`) 1e-12" in note for note in loaded.notes)
    assert_same_logits(loaded, Transformers(weights, heads=1, eps=1e-12, body="vit"))


NEWER = {
    "encoder.layer.": "layers.",
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
}


def test_transformers_5_as_torch_saves_its_modules(tmp_path: Path) -> None:
    """save_pretrained writes the old names; `torch.save(model.state_dict())` the new ones of its modules."""
    weights = transformers_weights()
    newer: Weights = {}
    for name, value in weights.items():
        for old, new in NEWER.items():
            name = name.replace(old, new)
        newer[name] = value
    torch.save(newer, tmp_path / "model.pth")
    assert_same_logits(load_checkpoint(tmp_path / "model.pth"), Transformers(weights, heads=1, eps=1e-12, body="vit"))


def test_a_query_without_its_key(tmp_path: Path) -> None:
    weights = transformers_weights()
    del weights["vit.encoder.layer.1.attention.attention.key.weight"]
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(Exception, match="`blocks.1.attn.k.weight` is missing"):
        load_checkpoint(tmp_path / "a.pth")


def dino(registers: int = 4, size: int = 70) -> Weights:
    """Make DINOv2's state dict: positions for class token and patches, registers, layer scales, no classifier."""
    weights = timm_weights(size, patch=14, registers=registers, embed_prefix=False, layer_scale=True)
    table = weights.pop("pos_embed")
    weights["pos_embed"] = torch.cat([torch.ones(1, 1, 64), table], dim=1)
    weights["register_tokens"] = weights.pop("reg_token")
    weights["mask_token"] = torch.zeros(1, 64)
    return {name: value for name, value in weights.items() if not name.startswith("head.")}


def test_dinov2_is_a_start_to_train_from_and_no_model_to_export(tmp_path: Path) -> None:
    """Its odd grid has no half-size view, so a size must be said; stage 1 is then its own network at that size."""
    weights = dino()
    torch.save(weights, tmp_path / "dinov2.pth")
    with pytest.raises(Exception, match="no classifier .*`sacvit train --init` takes it"):
        load_checkpoint(tmp_path / "dinov2.pth")
    with pytest.raises(
        Exception, match="not a multiple of twice the patch size.*--init` takes it with --image-size 56"
    ):
        load_checkpoint(tmp_path / "dinov2.pth", start=True)
    loaded = load_checkpoint(tmp_path / "dinov2.pth", start=True, image_size=112)
    assert loaded.headless
    assert (loaded.model.config.geometry.image_size, loaded.model.config.geometry.registers) == (112, 4)
    assert any("resampled the position table from 5 x 5 to 8 x 8" in note for note in loaded.notes)
    model = loaded.model
    # In timm's layout of the same network, classified by the identity.
    table = torch.nn.functional.interpolate(
        weights["pos_embed"][:, 1:].reshape(1, 5, 5, 64).permute(0, 3, 1, 2),
        size=(8, 8),
        mode="bicubic",
        antialias=True,
    )
    own = {name: value for name, value in weights.items() if name not in ("register_tokens", "mask_token")}
    own["pos_embed"] = table.flatten(2).transpose(1, 2)
    own["cls_token"] = own["cls_token"] + weights["pos_embed"][:, :1]
    own |= {"reg_token": weights["register_tokens"], "head.weight": torch.eye(64), "head.bias": torch.zeros(64)}
    model.head = torch.nn.Linear(64, 64)
    torch.nn.init.eye_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    assert_same_logits(loaded, Timm(own, heads=1))
