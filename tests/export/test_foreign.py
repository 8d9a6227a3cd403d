"""Features that SAC-ViT has no place for: refused by their names, not by the name of a weight that is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import prune

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import Checkpoint, load_checkpoint

from .forwards import Timm, Weights, drawn, timm_weights, transformers_weights
from .test_families import assert_same_logits


def load(content: Any, path: Path, **options: Any) -> Checkpoint:
    torch.save(content, path / "a.pth")
    return load_checkpoint(path / "a.pth", **options)


def refuse(content: Any, path: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        load(content, path)
    assert "is missing" not in str(caught.value) and len(str(caught.value).splitlines()) == 1


def without(weights: Weights, *ends: str) -> Weights:
    return {name: value for name, value in weights.items() if not name.endswith(ends)}


NORM_BIASES = ("norm1.bias", "norm2.bias", "norm.bias")
ONE = torch.ones(64)
# Names as timm and the authors' code have them.
ADDED: dict[str, tuple[str, Tensor, str]] = {
    "swin": ("layers.0.blocks.0.attn.qkv.weight", ONE, "attends in windows"),
    "swin-bias": ("blocks.0.attn.relative_position_bias_table", ONE, "relative position biases"),
    "sam": ("blocks.0.attn.rel_pos_h", ONE, "relative position biases"),
    "rope": ("rope.periods", ONE, "rotary positions"),
    "rope-mixed": ("blocks.0.attn.freqs.weight", ONE, "rotary positions"),
    "qk-norm": ("blocks.0.attn.q_norm.weight", ONE, "QK-norm"),
    "qk-norm-other-name": ("blocks.1.attn.norm_k.weight", ONE, "QK-norm"),
    "swiglu": ("blocks.0.mlp.w12.weight", ONE, "SwiGLU"),
    "swiglu-eva": ("blocks.0.mlp.fc1_g.weight", ONE, "SwiGLU"),
    "swiglu-llama": ("blocks.0.mlp.gate_proj.weight", ONE, "SwiGLU"),
    "talking-heads": ("blocks.0.attn.proj_l.weight", ONE, "talking heads"),
    "convit": ("blocks.0.attn.gating_param", ONE, "mixes its attention maps"),
    "cait": ("blocks_token_only.0.attn.q.weight", ONE, "attends to its class token in blocks of their own"),
    "parallel": ("blocks.0.attns.0.qkv.weight", ONE, "several attentions in a block"),
    "pooling": ("blocks.0.attn.pool_k.weight", ONE, "convolutions or pooling inside its blocks"),
    "volo": ("network.0.0.attn.proj.weight", ONE, "several resolutions"),
    "stem": ("patch_embed.conv1.weight", ONE, "convolutional stem"),
    "hybrid": ("patch_embed.backbone.stem.conv.weight", ONE, "convolutional stem"),
    "batch-norm": ("blocks.0.norm1.running_mean", ONE, "batch norms in place of LayerNorm"),
    "yolos": ("detection_tokens", torch.ones(1, 10, 64), "detection tokens"),
    "prompts": ("prompt_embeddings", torch.ones(1, 10, 64), "learned prompts"),
    "weight-norm": ("blocks.0.mlp.fc1.weight_g", ONE, "weight norm, .*remove_weight_norm"),
    "spectral-norm": ("blocks.0.mlp.fc1.weight_orig", ONE, "spectral norm"),
    "parametrized": ("blocks.0.mlp.fc1.parametrizations.weight.original0", ONE, "remove_parametrizations"),
    "lora": ("blocks.0.attn.qkv.lora_A.default.weight", ONE, "an adapter .*LoRA and PEFT.*merge_and_unload"),
    "lora-of-old": ("blocks.0.attn.qkv.lora_A", ONE, "an adapter .*LoRA"),
    "adapter": ("blocks.0.adaptmlp.down_proj.weight", ONE, "an adapter"),
    "bitsandbytes": ("blocks.0.attn.qkv.SCB", ONE, "is quantised; give the checkpoint as trained"),
    "float8-scales": ("blocks.0.attn.qkv.weight_scale", ONE, "is quantised; give the checkpoint as trained"),
    "gptq": ("blocks.0.attn.qkv.qzeros", ONE, "is quantised; give the checkpoint as trained"),
}


@pytest.mark.parametrize("case", ADDED)
def test_a_feature_that_a_name_shows(case: str, tmp_path: Path) -> None:
    name, value, match = ADDED[case]
    refuse(timm_weights() | {name: value}, tmp_path, match)


def test_the_same_features_under_transformers_names(tmp_path: Path) -> None:
    swin = {"swin.encoder.layers.0.blocks.0.attention.self.relative_position_bias_table": ONE}
    apart = {f"blocks.0.attn.{part}.weight": torch.ones(64, 64) for part in ("v", "qk")}
    refuse({**timm_weights(), **apart, "blocks.0.attn.gating_param": ONE}, tmp_path, "mixes its attention maps")
    refuse({**transformers_weights("swin"), **swin}, tmp_path, "relative position biases|attends in windows")
    refuse({**transformers_weights("beit"), "beit.pooler.layernorm.weight": ONE}, tmp_path, "averages .*as BEiT does")
    detecting = {"vit.embeddings.detection_tokens": torch.ones(1, 9, 64)}
    refuse({**transformers_weights(), **detecting}, tmp_path, "detection tokens")
    gated = {f"vit.encoder.layer.0.mlp.weights_{part}.weight": ONE for part in ("in", "out")}
    refuse({**transformers_weights(), **gated}, tmp_path, "SwiGLU")


def test_features_that_shapes_show(tmp_path: Path) -> None:
    weights = timm_weights()
    refuse(without(weights, *NORM_BIASES), tmp_path, "norms without biases, as RMSNorm has")
    packed = {f"blocks.{i}.mlp.fc2.weight": torch.ones(64, 128) for i in range(2)}
    refuse(weights | packed, tmp_path, r"gated MLPs .SwiGLU or GEGLU, with both halves in `fc1`")
    narrow = drawn({"blocks.1.mlp.fc1.weight": (96, 64), "blocks.1.mlp.fc1.bias": (96,)})
    narrow |= drawn({"blocks.1.mlp.fc2.weight": (64, 96)})
    refuse(weights | narrow, tmp_path, r"MLPs of different widths .`blocks.0.mlp.fc1.weight` 256, `blocks.1")
    grouped = {f"blocks.{i}.attn.qkv.weight": torch.ones(96, 64) for i in range(2)}
    refuse(weights | grouped, tmp_path, "96 rows in `blocks.0.attn.qkv.weight`, not 3 x 64")


def test_two_last_norms(tmp_path: Path) -> None:
    torch.save(timm_weights() | {"fc_norm.weight": ONE, "fc_norm.bias": ONE}, tmp_path / "model.pth")
    (tmp_path / "config.json").write_text('{"architecture": "vit", "global_pool": "token", "pretrained_cfg": {}}')
    with pytest.raises(CheckpointError, match="two norms before its classifier"):
        load_checkpoint(tmp_path)


def test_one_norm_without_its_bias_is_a_damaged_file_and_no_rmsnorm(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="1 weight is missing, `blocks.0.norm1.bias`"):
        load(without(timm_weights(), "blocks.0.norm1.bias"), tmp_path)


def test_without_a_position_table(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no position table .`pos_embed`.*rotary positions.* or none"):
        load(without(timm_weights(), "pos_embed"), tmp_path)


@pytest.mark.parametrize("name", ["base_model.model.vit.layer.0.attention.query.lora_B.weight", "blocks.0.hada_w1_a"])
def test_an_adapter_alone(name: str, tmp_path: Path) -> None:
    refuse({name: torch.ones(3, 3)}, tmp_path, "an adapter .*merge it into the network first")


def test_a_pruned_network_is_the_product_with_its_masks(tmp_path: Path) -> None:
    """Written by torch's own pruning, and compared with what its `prune.remove` leaves."""
    weights = timm_weights()
    pruned = {name: value for name, value in weights.items() if name != "blocks.0.mlp.fc1.weight"}
    layer = torch.nn.Linear(64, 256)
    layer.load_state_dict({"weight": weights["blocks.0.mlp.fc1.weight"], "bias": weights["blocks.0.mlp.fc1.bias"]})
    prune.l1_unstructured(layer, "weight", amount=0.5)
    pruned |= {f"blocks.0.mlp.fc1.{name}": value.detach().clone() for name, value in layer.state_dict().items()}
    assert "blocks.0.mlp.fc1.weight_mask" in pruned
    prune.remove(layer, "weight")
    own = weights | {"blocks.0.mlp.fc1.weight": layer.weight.detach()}
    assert (own["blocks.0.mlp.fc1.weight"] == 0).float().mean() == 0.5
    for content in (pruned, {"state_dict": {f"net.{name}": value for name, value in pruned.items()}}):
        loaded = load(content, tmp_path)
        assert_same_logits(loaded, Timm(own, heads=1))
        assert any("applied the masks of pruned weights" in note for note in loaded.notes)
    with pytest.raises(CheckpointError, match=r"`blocks.0.mlp.fc1.weight_mask` is no mask of the shape"):
        load(pruned | {"blocks.0.mlp.fc1.weight_mask": torch.ones(3)}, tmp_path)


def test_a_pruned_patch_embedding_is_found_all_the_same(tmp_path: Path) -> None:
    weights = timm_weights()
    matrix = weights.pop("patch_embed.proj.weight")
    mask = (torch.rand(matrix.shape, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    parts = {"patch_embed.proj.weight_orig": matrix, "patch_embed.proj.weight_mask": mask}
    assert_same_logits(load(weights | parts, tmp_path), Timm(weights | {"patch_embed.proj.weight": matrix * mask}, 1))


def test_biases_of_queries_and_values_alone(tmp_path: Path) -> None:
    """EVA's and BEiT's layout: keys have none."""
    weights, split = timm_weights(), {}
    for i in range(2):
        queries, _, values = weights.pop(f"blocks.{i}.attn.qkv.bias").chunk(3)
        split |= {f"blocks.{i}.attn.q_bias": queries, f"blocks.{i}.attn.v_bias": values}
        weights[f"blocks.{i}.attn.qkv.bias"] = torch.cat([queries, torch.zeros(64), values])
    own = dict(weights)
    assert_same_logits(load(without(weights, "qkv.bias") | split, tmp_path), Timm(own, heads=1))


def test_queries_keys_and_values_apart(tmp_path: Path) -> None:
    weights, apart = timm_weights(), {}
    for name in [name for name in weights if "qkv" in name]:
        for part, value in zip("qkv", weights[name].chunk(3), strict=True):
            apart[name.replace("qkv", part)] = value
    loaded = load({name: value for name, value in weights.items() if "qkv" not in name} | apart, tmp_path)
    assert_same_logits(loaded, Timm(weights, heads=1))


def test_blocks_in_chunks_as_dinov2_trains_them(tmp_path: Path) -> None:
    """In a chunk, blocks of other chunks are empty places, so that each keeps its number."""
    weights = timm_weights(depth=4)
    chunks = {}
    for name, value in weights.items():
        number = int(name.split(".")[1]) if name.startswith("blocks.") else 0
        chunks[name.replace("blocks.", f"blocks.{number // 2}.", 1)] = value
    assert "blocks.1.3.attn.qkv.weight" in chunks
    assert_same_logits(load(chunks, tmp_path), Timm(weights, heads=1))


STRANGERS = {
    "torchvision": (["conv_proj.weight", "encoder.ln.weight"], "torchvision's VisionTransformer"),
    "clip": (["visual.conv1.weight", "visual.transformer.resblocks.0.ln_1.weight"], "the image tower of a CLIP"),
    "transformers-clip": (["vision_model.embeddings.patch_embedding.weight"], "the image tower of a CLIP"),
    "vit-pytorch": (["to_patch_embedding.1.weight", "transformer.layers.0.0.to_qkv.weight"], "a vit-pytorch network"),
    "stem": (["patch_embed.proj.0.weight", "blocks.0.attn.qkv.weight"], "a convolutional stem"),
    "language": (["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"], "a language model"),
    "resnet": (["conv1.weight", "layer1.0.conv1.weight"], "a convolutional network"),
}


@pytest.mark.parametrize("case", STRANGERS)
def test_networks_of_other_kinds(case: str, tmp_path: Path) -> None:
    names, match = STRANGERS[case]
    with pytest.raises(CheckpointError, match=f"no DeiT-shaped model: .*; it looks like .*{match}|{match}"):
        load(dict.fromkeys(names, torch.ones(3, 3)), tmp_path)
