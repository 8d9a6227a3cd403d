"""Checkpoints of every family, in the exact shape their training scripts leave them."""

from __future__ import annotations

import argparse
import math
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.config import Geometry, Method, ModelConfig, Preprocessing
from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.modules import PlainDeiT

from .making import Weights, cf_vit_weights, config_of, deit_weights, images_for, lively_model
from .naive import Naive


def same(model: nn.Module, weights: Weights) -> bool:
    state = model.state_dict()
    return set(state) == set(weights) and all(torch.equal(state[key], weights[key].float()) for key in weights)


CONTAINERS: dict[str, Callable[[Weights], Any]] = {
    "bare": lambda weights: weights,
    "ordered-dict": lambda weights: OrderedDict(weights),
    "model": lambda weights: {"model": weights, "epoch": 299},
    "state-dict": lambda weights: {"state_dict": weights, "epoch": 3, "arch": "deit", "best_acc1": 79.8},
    "module": lambda weights: {"module": weights},
    "nested": lambda weights: {"model": {"state_dict": weights}},
    "data-parallel": lambda weights: {"model": {f"module.{key}": value for key, value in weights.items()}},
    "compiled": lambda weights: {f"_orig_mod.{key}": value for key, value in weights.items()},
    "both-prefixes": lambda weights: {f"module._orig_mod.{key}": value for key, value in weights.items()},
    "other-order": lambda weights: {f"_orig_mod.module.{key}": value for key, value in weights.items()},
    "parameters": lambda weights: {key: nn.Parameter(value) for key, value in weights.items()},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ""])
@pytest.mark.parametrize("container", CONTAINERS)
def test_weights_are_found_in_every_container(container: str, suffix: str, tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    path = tmp_path / f"model{suffix}"
    torch.save(CONTAINERS[container](weights), path)
    loaded = load_checkpoint(path)
    assert loaded.family == "deit"
    assert same(loaded.model, weights)
    assert not loaded.model.training


def test_an_old_style_pickle_without_zip_is_read_too(tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    torch.save({"model": weights}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(tmp_path / "old.pth").model, weights)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_safetensors_without_our_metadata_are_read_like_a_bare_state_dict(prefix: str, tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    named = {prefix + key: value for key, value in weights.items()}
    safetensors.torch.save_file(named, tmp_path / "timm.safetensors", metadata={"format": "pt"})
    loaded = load_checkpoint(tmp_path / "timm.safetensors")
    assert loaded.family == "deit"
    assert same(loaded.model, weights)


# As each family's own evaluation takes them: timm prefers the average, DeiT, CF-ViT and LF-ViT the weights as trained.
PAIRS = [
    ("state_dict", "state_dict_ema", "ema"),
    ("student", "teacher", "ema"),
    ("model", "model_ema", "model"),
    ("model", "ema", "model"),
]


@pytest.mark.parametrize(("plain", "averaged", "published"), PAIRS)
def test_of_two_sets_of_weights_the_published_one_is_taken_and_said(
    plain: str, averaged: str, published: str, tmp_path: Path
) -> None:
    sets = {"model": deit_weights(64, depth=1, seed=1), "ema": deit_weights(64, depth=1, seed=2)}
    torch.save({plain: sets["model"], averaged: sets["ema"], "epoch": 3}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert same(loaded.model, sets[published])
    other = "model" if published == "ema" else "ema"
    assert any("which differ" in note and f"--weights {other} takes the others" in note for note in loaded.notes)
    assert same(load_checkpoint(tmp_path / "a.pth", weights="ema").model, sets["ema"])
    assert same(load_checkpoint(tmp_path / "a.pth", weights="model").model, sets["model"])


@pytest.mark.parametrize(("plain", "averaged", "published"), PAIRS)
def test_equal_sets_of_weights_need_no_word(plain: str, averaged: str, published: str, tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    torch.save(
        {plain: weights, averaged: {f"module.{key}": value for key, value in weights.items()}}, tmp_path / "a.pth"
    )
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert same(loaded.model, weights)
    assert not any("differ" in note for note in loaded.notes)


def test_weights_of_a_kind_that_is_not_there(tmp_path: Path) -> None:
    torch.save({"model": deit_weights(64, depth=1), "model_ema": None}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="--weights ema: this checkpoint has nothing but weights as trained"):
        load_checkpoint(tmp_path / "a.pth", weights="ema")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_on_disk_become_fp32(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = {key: value.to(dtype) for key, value in deit_weights(64, depth=1).items()}
    torch.save(weights, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert same(loaded.model, weights)
    assert {value.dtype for value in loaded.model.state_dict().values()} == {torch.float32}


# Our own format.

OWN = {
    "default": config_of(width=64, depth=2, heads=1),
    "everything-else": ModelConfig(
        Geometry(image_size=288, width=48, depth=3, heads=3, classes=4, mlp_ratio=3.0),
        Method(
            downsample="bilinear_corners",
            positions="separate",
            score_first_block=2,
            score_beta=0.5,
            alpha=0.25,
            rounding="ceil",
            fusion="expand",
            background="features",
            class_token="union",
            attention="global",
        ),
        Preprocessing(interpolation="bilinear", crop=1.0, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 1.0)),
    ),
}


@pytest.mark.parametrize("case", OWN)
def test_our_own_format_round_trips(case: str, tmp_path: Path) -> None:
    config = OWN[case]
    model = lively_model(config)
    labels = [f"Klasse {number} ä 猫" for number in range(config.geometry.classes)]
    provenance = {"data": "none", "epochs": 3, "top1": {"ee": 0.5, "sac": 0.6}}
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, model, labels=labels, eta=0.73, provenance=provenance)
    loaded = load_checkpoint(path)
    assert loaded.family == "sac-vit"
    assert loaded.model.config == config
    assert (loaded.labels, loaded.eta, loaded.provenance) == (labels, 0.73, provenance)
    assert same(loaded.model, model.state_dict())
    assert [entry.name for entry in tmp_path.iterdir()] == ["own.safetensors"]
    images = images_for(config, count=1)
    with torch.no_grad():
        assert torch.equal(loaded.model(images).logits, model(images).logits)


def test_our_own_format_without_labels_has_defaults(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "own.safetensors", lively_model(OWN["default"]))
    loaded = load_checkpoint(tmp_path / "own.safetensors")
    assert (loaded.labels, loaded.eta, loaded.provenance, loaded.notes) == (None, 0.5, {}, [])


def test_half_precision_on_disk_halves_the_file(tmp_path: Path) -> None:
    model = lively_model(OWN["default"])
    save_checkpoint(tmp_path / "whole.safetensors", model)
    save_checkpoint(tmp_path / "half.safetensors", model, dtype=torch.float16)
    whole, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half"))
    assert half < 0.55 * whole
    loaded = load_checkpoint(tmp_path / "half.safetensors").model
    assert same(loaded, {key: value.half() for key, value in model.state_dict().items()})
    assert loaded.head.weight.dtype == torch.float32


def test_saving_replaces_an_older_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    for seed in (1, 2):
        save_checkpoint(path, lively_model(OWN["default"], seed))
    assert same(load_checkpoint(path).model, lively_model(OWN["default"], 2).state_dict())


def test_our_weights_without_config_take_the_defaults_and_say_so(tmp_path: Path) -> None:
    model = lively_model(config_of(width=64, heads=1, depth=2))
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    loaded = load_checkpoint(tmp_path / "bare.pth")
    assert loaded.family == "sac-vit"
    assert loaded.model.config == model.config
    assert any("default" in note for note in loaded.notes)


# Plain DeiT and timm.


@pytest.mark.parametrize(
    ("size", "width", "depth", "classes", "patch"), [(224, 64, 2, 5, 16), (288, 128, 1, 1000, 16), (64, 64, 3, 2, 8)]
)
def test_geometry_is_read_off_a_plain_deit(
    size: int, width: int, depth: int, classes: int, patch: int, tmp_path: Path
) -> None:
    weights = deit_weights(size, width, depth, classes, patch=patch)
    torch.save({"model": weights}, tmp_path / "deit.pth")
    loaded = load_checkpoint(tmp_path / "deit.pth")
    assert loaded.model.config == ModelConfig(
        Geometry(size, patch, width, depth, width // 64, classes, 4.0), Method(fusion="none")
    )
    assert loaded.family == "deit"
    assert loaded.labels is None
    assert any("fusion = none" in note and "fine-tune" in note for note in loaded.notes)


@pytest.mark.parametrize(("heads", "size"), [(None, 224), (2, 224), (4, 288)])
def test_a_plain_deit_gives_a_plain_deits_answers(heads: int | None, size: int, tmp_path: Path) -> None:
    weights = deit_weights(size)
    torch.save({"model": weights}, tmp_path / "deit.pth")
    model = load_checkpoint(tmp_path / "deit.pth", heads=heads).model
    images = images_for(model.config, count=1)
    with torch.no_grad():
        logits = PlainDeiT(model)(images)[0].numpy()
    geometry = {"image_size": size, "patch_size": 16, "width": 64, "depth": 2, "heads": heads or 1}
    expected = Naive(weights, {"geometry": geometry, "method": {"positions": "shared"}}).deit(images[0].numpy())
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("hidden", [64, 100, 192, 193, 250, 255, 256, 511])
def test_any_width_of_the_mlp_is_read_back_exactly(hidden: int, tmp_path: Path) -> None:
    """The config keeps the hidden width as a ratio to the width, which may not be a round number."""
    weights = deit_weights(64, depth=1)
    for name, shape in {"fc1.weight": (hidden, 64), "fc1.bias": (hidden,), "fc2.weight": (64, hidden)}.items():
        weights[f"blocks.0.mlp.{name}"] = torch.ones(shape)
    torch.save(weights, tmp_path / "a.pth")
    assert same(load_checkpoint(tmp_path / "a.pth").model, weights)


def test_every_mlp_width_survives_as_a_ratio() -> None:
    for width in (64, 192, 224, 384, 448, 768, 1216):
        for hidden in range(1, 6 * width):
            assert Geometry(width=width, heads=1, mlp_ratio=hidden / width).hidden == hidden


# CF-ViT and LF-ViT.


def cf_vit_file(weights: Weights, model: str = "cf_deit_small") -> dict[str, Any]:
    """Make the dict that CF-ViT's training script saves."""
    parameters = [nn.Parameter(torch.ones(3))]
    optimizer = torch.optim.AdamW(parameters)
    parameters[0].grad = torch.ones(3)
    optimizer.step()
    return {
        "model": weights,
        "optimizer": optimizer.state_dict(),
        "epoch": 299,
        "flop": np.float64(1.1e9),
        "args": argparse.Namespace(model=model, lr=5e-4, input_size=224, betas=[0.9, 0.999], finetune="", dist=None),
    }


class CFViT:
    """CF-ViT's forward pass as its authors wrote it (Chen et al., AAAI 2023), inference only."""

    def __init__(self, weights: Weights, depth: int, heads: int) -> None:
        self.w, self.depth, self.heads = weights, depth, heads

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-6)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.linear(f"{name}.fc2", F.gelu(self.linear(f"{name}.fc1", x)))

    def block(self, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        batch, tokens, width = x.shape
        size = width // self.heads
        qkv = self.linear(f"blocks.{i}.attn.qkv", self.norm(f"blocks.{i}.norm1", x))
        q, k, v = qkv.reshape(batch, tokens, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-2, -1)) * size**-0.5).softmax(dim=-1)
        x = x + self.linear(f"blocks.{i}.attn.proj", (attention @ v).transpose(1, 2).reshape(batch, tokens, width))
        return x + self.mlp(f"blocks.{i}.mlp", self.norm(f"blocks.{i}.norm2", x)), attention

    def tokens(self, image: Tensor, stage: int) -> Tensor:
        x = F.conv2d(image, self.w["patch_embed.proj.weight"], self.w["patch_embed.proj.bias"], stride=16)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([self.w["cls_token"].expand(len(x), -1, -1), x], dim=1)
        return x + self.w[f"pos_embed_list.{stage}"]

    def __call__(self, image: Tensor, alpha: float = 0.5, beta: float = 0.99) -> tuple[Tensor, Tensor, Tensor]:
        batch, half = len(image), image.shape[2] // 2
        coarse = F.interpolate(image, size=(half, half), mode="bilinear", align_corners=True)
        x = embedding = self.tokens(coarse, 0)
        average: Tensor | float = 0.0
        for i in range(self.depth):
            x, attention = self.block(i, x)
            if i >= self.depth // 4:
                average = beta * average + (1 - beta) * attention
        assert isinstance(average, Tensor)
        x = self.norm("norm", x)
        first_logits, first_features = self.linear("head", x[:, 0]), x
        # Informative region: class attention, mean over heads.
        scores = average.mean(dim=1)[:, 0, 1:]
        tokens = scores.shape[1]
        grid = math.isqrt(tokens)
        order = torch.argsort(scores, dim=1, descending=True)
        important, unimportant = order[:, : math.ceil(alpha * tokens)], order[:, math.ceil(alpha * tokens) :]
        # Fine stage: every token of the image, with the reused features laid over them.
        fine = self.tokens(image, 1)
        reused = self.mlp("reuse_block.1", self.norm("reuse_block.0", first_features[:, 1:]))
        reused = reused.transpose(1, 2).reshape(batch, -1, grid, grid)
        reused = F.interpolate(reused, (2 * grid, 2 * grid), mode="nearest").flatten(2).transpose(1, 2)
        fine = fine + torch.cat([torch.zeros(batch, 1, fine.shape[2]), reused], dim=1)
        upper_left = 4 * important - 2 * (important % grid)
        four = [upper_left, upper_left + 1, upper_left + 2 * grid, upper_left + 2 * grid + 1]
        kept = torch.cat([torch.zeros(batch, 1, dtype=torch.int64), torch.cat(four, dim=1) + 1], dim=1)
        rows = torch.arange(batch)[:, None]
        x = torch.cat([fine[rows, kept], embedding[rows, unimportant + 1]], dim=1)
        for i in range(self.depth):
            x, _ = self.block(i, x)
        return first_logits, important.sort(dim=1).values, self.linear("head", self.norm("norm", x)[:, 0])


@pytest.mark.parametrize(("size", "depth", "width"), [(224, 4, 64), (288, 2, 128)])
def test_a_cf_vit_is_served_exactly(size: int, depth: int, width: int, tmp_path: Path) -> None:
    weights = cf_vit_weights(size, width, depth)
    torch.save(cf_vit_file(weights), tmp_path / "checkpoint.pth")
    loaded = load_checkpoint(tmp_path / "checkpoint.pth")
    assert loaded.family == "cf-vit"
    assert loaded.model.config == ModelConfig(
        Geometry(size, 16, width, depth, width // 64, 5),
        Method(
            downsample="bilinear_corners", positions="separate", rounding="ceil", fusion="repeat", attention="global"
        ),
    )
    assert same(loaded.model, weights)
    images = images_for(loaded.model.config, count=3)
    with torch.no_grad():
        outputs = loaded.model(images)
        first, important, second = CFViT(weights, depth, width // 64)(images)
    assert outputs.targets.shape[1] == math.ceil(0.5 * (size // 32) ** 2)
    assert torch.equal(outputs.targets, important)
    assert (outputs.ee.logits - first).abs().max() <= 1e-5 * first.abs().max()
    assert (outputs.logits - second).abs().max() <= 1e-5 * second.abs().max()


def test_a_cf_vit_loads_without_being_trusted_and_its_notes_say_what_it_is(tmp_path: Path) -> None:
    torch.save(cf_vit_file(cf_vit_weights(64, depth=1)), tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert any("CF-ViT" in note and "exactly" in note for note in loaded.notes)
    assert not any("--family" in note for note in loaded.notes)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_numbers_written_by_any_numpy_are_harmless(module: str, tmp_path: Path) -> None:
    """Published checkpoints were written by numpy 1, whose modules have other names than numpy 2's."""
    content = cf_vit_file(cf_vit_weights(64, depth=1))
    content |= {"top1": np.float32(79.8), "steps": np.int64(3)}
    torch.save(content, tmp_path / "new.pth")
    replaced = 0
    with zipfile.ZipFile(tmp_path / "new.pth") as source, zipfile.ZipFile(tmp_path / "old.pth", "w") as target:
        for entry in source.infolist():
            data = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                data, replaced = re.subn(rb"cnumpy\._?core\.multiarray\n", f"c{module}\n".encode(), data)
            target.writestr(entry.filename, data)
    assert replaced
    assert load_checkpoint(tmp_path / "old.pth").family == "cf-vit"


def test_without_args_the_notes_point_at_the_family_option(tmp_path: Path) -> None:
    torch.save({"model": cf_vit_weights(64, depth=1)}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth")
    assert loaded.family == "cf-vit"
    assert any("--family lf-vit" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("name", "asked", "family"),
    [
        ("lf_deit_small", None, "lf-vit"),
        ("LF_DeiT_small", None, "lf-vit"),
        ("cf_deit_small", "lf-vit", "lf-vit"),
        ("", "lf-vit", "lf-vit"),
        ("lf_deit_small", "cf-vit", "cf-vit"),
        ("cf_deit_small", None, "cf-vit"),
        ("elf_deit", None, "cf-vit"),
    ],
)
@pytest.mark.parametrize("kind", ["namespace", "dict"])
def test_lf_vit_is_told_by_its_args_or_by_the_user(
    name: str, asked: str | None, family: str, kind: str, tmp_path: Path
) -> None:
    content = cf_vit_file(cf_vit_weights(224, depth=1), name)
    if kind == "dict":
        content["args"] = vars(content["args"])
    torch.save(content, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth", family=asked)
    assert loaded.family == family
    assert any("window" in note for note in loaded.notes) == (family == "lf-vit")


def test_a_cf_vit_with_expanding_reuse_is_recognised(tmp_path: Path) -> None:
    weights = cf_vit_weights(64, depth=1)
    weights["reuse_block.1.fc2.weight"] = torch.ones(256, 256)
    weights["reuse_block.1.fc2.bias"] = torch.ones(256)
    torch.save(weights, tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").model.config.method.fusion == "expand"


def test_a_whole_module_loads_only_when_trusted(tmp_path: Path) -> None:
    model = lively_model(config_of(64, width=64, heads=1, depth=1))
    torch.save(model, tmp_path / "module.pth")
    assert same(load_checkpoint(tmp_path / "module.pth", trust=True).model, model.state_dict())
