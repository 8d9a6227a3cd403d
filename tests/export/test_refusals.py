"""Files that are no checkpoints, or not of a model this project knows: one clear sentence each, and no code is run."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import load_checkpoint, save_checkpoint
from sacvit_deploy.export.overrides import Overrides

from .making import Weights, cf_vit_weights, config_of, deit_weights, lively_model


def refuse(path: Path, match: str, **options: Any) -> str:
    """Load, expect a one-line error that names the file and matches; returns the line."""
    with pytest.raises(CheckpointError, match=match) as caught:
        load_checkpoint(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    return message


# What is no file, or no checkpoint.


def test_a_missing_file(tmp_path: Path) -> None:
    refuse(tmp_path / "missing.pth", "no checkpoint at")


def test_a_folder(tmp_path: Path) -> None:
    refuse(tmp_path, "is a folder without weights; it holds none of model.safetensors")
    for name in ("one.pth", "two.pt", "notes.txt"):
        (tmp_path / name).write_bytes(b"weights")
    refuse(tmp_path, "is a folder with 2 files of weights; give one of them: one.pth, two.pt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.pth"
    torch.save(deit_weights(64, depth=1), path)
    path.chmod(0)
    refuse(path, "can't read")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_path_below_a_file(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    refuse(tmp_path / "file" / f"a{suffix}", "no checkpoint at")


CONTENTS = {
    "random": np.random.default_rng(0).bytes(5000),
    "zeros": bytes(5000),
    "text": b"these are not the weights you are looking for\n" * 50,
    "html": b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n",
    "lfs-pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 88000000\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "one-byte": b"\x80",
    "image": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(2000),
}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_with_something_else_in_it(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(CONTENTS[content])
    known = {"html": "is a web page", "lfs-pointer": "is a Git LFS pointer.*git lfs pull", "zeros": "begins with zeros"}
    short = "is not a whole safetensors file" if suffix == ".safetensors" and content == "one-byte" else None
    refuse(path, known.get(content) or short or "is not a (whole )?PyTorch checkpoint")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_empty_file(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").touch()
    refuse(tmp_path / f"a{suffix}", "is empty")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
def test_a_truncated_file(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pth")
    weights = deit_weights(64, depth=1)
    if kind == "safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save({"model": weights}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refuse(path, "is not a whole|is not a PyTorch checkpoint|is empty")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([torch.ones(3)], "holds a list, not a dict"),
        (torch.ones(3), "holds a Tensor, not a dict"),
        (3, "holds a int, not a dict"),
        ({}, "no weights found"),
        ({"epoch": 3, "lr": 0.1}, "no weights found"),
        ({"model": {}}, "no weights found"),
        ({"model": {"epoch": 3}}, "no weights found"),
    ],
)
def test_a_pickle_of_something_else(content: Any, match: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", match)


# Pickles that need code.


class Touch:
    """Object that creates a file when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def creators(marker: Path) -> dict[str, Touch]:
    return {
        "os": Touch(os.mkdir, str(marker)),
        "pathlib": Touch(pathlib.Path.mkdir, marker),
        "builtins": Touch(exec, f"open({str(marker)!r}, 'w').close()"),
        "torch": Touch(torch.save, 0, str(marker)),
        "numpy": Touch(np.save, str(marker), 0),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("way", ["os", "pathlib", "builtins", "torch", "numpy"])
def test_code_in_a_pickle_never_runs_unless_trusted(way: str, legacy: bool, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    marker = tmp_path / "place" / "marker"
    path = tmp_path / "evil.pth"
    weights = deit_weights(64, depth=1)
    content = {"model": weights, "args": creators(marker)[way]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    message = refuse(path, "needs code to load")
    assert "--trust-checkpoint" in message
    assert not any((tmp_path / "place").iterdir())
    loaded = load_checkpoint(path, trust=True)
    assert loaded.family == "deit"
    assert any((tmp_path / "place").iterdir())


def test_the_refusal_names_what_the_pickle_wanted_to_call(tmp_path: Path) -> None:
    torch.save({"model": Touch(pickle.loads, b"N.")}, tmp_path / "a.pth")
    assert "pickle.loads" in refuse(tmp_path / "a.pth", "needs code to load")


def test_a_plain_pickle_that_needs_code_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"model": creators(marker)["pathlib"]}))
    refuse(tmp_path / "a.pth", "needs code to load|is not a")
    assert not marker.exists()


def test_a_pickle_dressed_as_safetensors_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    torch.save({"model": creators(marker)["os"]}, tmp_path / "a.safetensors")
    refuse(tmp_path / "a.safetensors", "needs code to load", trust=True)
    assert not marker.exists()


# Weights of other models, and damaged weights.

Change = Callable[[Weights], Any]


def with_(name: str, value: torch.Tensor) -> Change:
    return lambda weights: weights.__setitem__(name, value)


def without(name: str) -> Change:
    return lambda weights: weights.pop(name)


def spoilt(name: str, value: float) -> Change:
    return lambda weights: weights[name].view(-1).__setitem__(-1, value)


WRONG: dict[str, tuple[Change, str]] = {
    "distilled": (with_("dist_token", torch.ones(1, 1, 64)), "distilled DeiT.*`dist_token`"),
    "distilled-head": (with_("head_dist.weight", torch.ones(5, 64)), "distilled DeiT.*second head"),
    "lv-vit": (with_("aux_head.weight", torch.ones(5, 64)), "LV-ViT.*`aux_head`"),
    "no-head": (without("head.weight"), "no classifier"),
    "no-class-token": (without("cls_token"), "has no class token .`cls_token`., whose attention"),
    "no-positions": (without("pos_embed"), "`pos_embed` is missing"),
    "no-patch-embedding": (without("patch_embed.proj.weight"), "`patch_embed.proj.weight` is missing"),
    "no-first-block": (without("blocks.0.attn.qkv.weight"), "`blocks.0.attn.qkv.weight` is missing"),
    "no-mlp": (without("blocks.0.mlp.fc1.weight"), "`blocks.0.mlp.fc1.weight` is missing"),
    "missing-key": (without("blocks.1.norm2.bias"), "1 weight is missing, `blocks.1.norm2.bias`$"),
    "extra-key": (
        with_("blocks.1.ls3.gamma", torch.ones(64)),
        "1 weight has no place in this model, `blocks.1.ls3.gamma`$",
    ),
    "one-output": (with_("head.weight", torch.ones(1, 64)), "has one output, so every answer would be certain"),
    "mean-pooling": (
        with_("fc_norm.weight", torch.ones(64)),
        "averages the patch tokens for its classifier .`fc_norm`",
    ),
    "attention-pooling": (with_("attn_pool.latent", torch.ones(1, 1, 64)), "pools by attention .`attn_pool`"),
    "query-norm": (with_("blocks.0.attn.q_norm.weight", torch.ones(64)), "normalises queries and keys"),
    "inner-norm": (with_("blocks.0.mlp.norm.weight", torch.ones(256)), "normalises inside attention or MLP"),
    "gated": (with_("blocks.0.mlp.w12.weight", torch.ones(512, 64)), "has gated MLPs .SwiGLU"),
    "relative": (with_("blocks.0.attn.relative_position_bias_table", torch.ones(9, 1)), "relative position biases"),
    "rotary": (with_("rope.periods", torch.ones(16)), "has rotary positions"),
    "old-head": (with_("pre_logits.fc.weight", torch.ones(64, 64)), "a layer before its classifier .`pre_logits`"),
    "no-bias-in-one-block": (without("blocks.1.mlp.fc1.bias"), "1 weight is missing, `blocks.1.mlp.fc1.bias`"),
    "scale-shape": (with_("blocks.1.ls1.gamma", torch.ones(3)), r"`blocks.1.ls1.gamma` has shape \[3\], not that"),
    "wrong-shape": (with_("blocks.1.attn.proj.weight", torch.ones(64, 32)), r"has shape \[64, 32\].*\[64, 64\]"),
    "wrong-order": (with_("blocks.0.mlp.fc2.weight", torch.ones(256, 64)), r"has shape \[256, 64\].*\[64, 256\]"),
    "wrong-class-token": (with_("cls_token", torch.ones(1, 64)), r"`cls_token` has shape \[1, 64\]"),
    "nan": (spoilt("blocks.1.mlp.fc2.weight", float("nan")), "`blocks.1.mlp.fc2.weight` holds NaN or infinity"),
    "infinity": (spoilt("pos_embed", float("-inf")), "`pos_embed` holds NaN or infinity"),
    "integers": (with_("norm.weight", torch.ones(64, dtype=torch.int64)), "`norm.weight` holds torch.int64"),
    "complex": (with_("norm.weight", torch.ones(64, dtype=torch.complex64)), "`norm.weight` holds torch.complex64"),
    "not-square": (with_("pos_embed", torch.ones(1, 18, 64)), "18 rows, not a square grid"),
    "two-extra-tokens": (with_("pos_embed", torch.ones(1, 198, 64)), "198 rows, not a square grid"),
    "empty-positions": (with_("pos_embed", torch.ones(1, 0, 64)), "0 rows, not a square grid"),
    "flat-positions": (with_("pos_embed", torch.ones(17, 64)), r"position table has shape \[17, 64\]"),
    "odd-grid": (with_("pos_embed", torch.ones(1, 10, 64)), "not a multiple of twice the patch size"),
    "one-low-token": (with_("pos_embed", torch.ones(1, 5, 64)), "fewer than 2x2 low-res tokens"),
    "grey-patches": (with_("patch_embed.proj.weight", torch.ones(64, 1, 16, 16)), r"images have 1 channel, .*RGB"),
    "oblong-patches": (with_("patch_embed.proj.weight", torch.ones(64, 3, 16, 8)), r"\[64, 3, 16, 8\]"),
    "flat-patches": (with_("patch_embed.proj.weight", torch.ones(64, 768)), r"\[64, 768\]"),
    "width-zero": (with_("patch_embed.proj.weight", torch.ones(0, 3, 16, 16)), "width"),
    "fc1-scalar": (with_("blocks.0.mlp.fc1.weight", torch.tensor(1.0)), "`blocks.0.mlp.fc1.weight` has shape"),
    "head-scalar": (with_("head.weight", torch.tensor(1.0)), "`head.weight` has shape"),
    "no-classes": (with_("head.weight", torch.ones(0, 64)), "classes must be positive"),
    "odd-width": (with_("patch_embed.proj.weight", torch.ones(80, 3, 16, 16)), "width 80; say --heads"),
    "far-block": (with_("blocks.9.norm1.weight", torch.ones(64)), "block 2 of 10 is missing"),
    "fusion-shape": (with_("reuse_block.1.fc2.weight", torch.ones(100, 256)), "100 rows, neither width nor 4 x width"),
    "fusion-scalar": (with_("reuse_block.1.fc2.weight", torch.tensor(1.0)), "`reuse_block.1.fc2.weight` has shape"),
    "half-a-fusion": (with_("reuse_block.1.fc2.weight", torch.ones(64, 256)), "`reuse_block.0.weight` first"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", WRONG)
def test_weights_that_make_no_model(case: str, suffix: str, tmp_path: Path) -> None:
    weights = deit_weights(64)
    change, match = WRONG[case]
    change(weights)
    path = tmp_path / f"a{suffix}"
    try:
        torch.save({"model": weights}, path) if suffix == ".pth" else safetensors.torch.save_file(weights, path)
    except KeyError:
        pytest.skip("this version of safetensors can't write the type")
    refuse(path, match)


def test_a_missing_block(tmp_path: Path) -> None:
    weights = {key: value for key, value in deit_weights(64, depth=3).items() if not key.startswith("blocks.1.")}
    torch.save(weights, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "block 1 of 3 is missing")


def test_a_block_number_out_of_all_bounds_is_refused_at_once(tmp_path: Path) -> None:
    weights = deit_weights(64) | {"blocks.900000000000.norm1.weight": torch.ones(64)}
    torch.save(weights, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "block 2 of 900000000001 is missing")


def test_a_resnet(tmp_path: Path) -> None:
    names = ("conv1.weight", "bn1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.weight", "fc.bias")
    torch.save({name: torch.ones(4, 4) for name in names}, tmp_path / "resnet.pth")
    refuse(tmp_path / "resnet.pth", "no DeiT-shaped model")


def test_a_swin(tmp_path: Path) -> None:
    names = ("patch_embed.proj.weight", "layers.0.blocks.0.attn.qkv.weight", "norm.weight", "head.weight")
    torch.save({"model": {name: torch.ones(4, 4) for name in names}}, tmp_path / "swin.pth")
    refuse(tmp_path / "swin.pth", "a Swin or another network of several resolutions")


@pytest.mark.parametrize("heads", [3, 5, 7, 128])
def test_heads_that_do_not_divide_the_width(heads: int, tmp_path: Path) -> None:
    torch.save(deit_weights(64), tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", f"width 64 does not divide into {heads} heads; --heads says", heads=heads)


def test_heads_given_by_the_user_make_up_for_an_odd_width(tmp_path: Path) -> None:
    torch.save(deit_weights(64, width=80), tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", "say --heads")
    assert load_checkpoint(tmp_path / "a.pth", heads=5).model.config.geometry.heads == 5


def test_low_res_table_of_another_size(tmp_path: Path) -> None:
    weights = cf_vit_weights(64)
    weights["pos_embed_list.0"] = torch.ones(1, 10, 64)
    torch.save(weights, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", r"`pos_embed_list.0` has shape \[1, 10, 64\]; the model's is \[1, 5, 64\]")


@pytest.mark.parametrize(
    ("weights", "family", "looks"),
    [
        (deit_weights(64), "cf-vit", "deit"),
        (deit_weights(64), "sac-vit", "deit"),
        (cf_vit_weights(64), "deit", "cf-vit"),
        (cf_vit_weights(64), "sac-vit", "cf-vit"),
    ],
)
def test_a_family_that_it_is_not(weights: Weights, family: str, looks: str, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", f"looks like a {looks} checkpoint, not {family}", family=family)


# Our own format with a spoilt description.

SPOILT: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no-config": (lambda data: data.pop("config"), "has no config"),
    "config-is-text": (lambda data: data.update(config="yes"), "has no config"),
    "unknown-section": (lambda data: data["config"].update(magic={}), "config.magic is unknown"),
    "unknown-field": (lambda data: data["config"]["method"].update(gamma=1), "config.method.gamma is unknown"),
    "unknown-choice": (lambda data: data["config"]["method"].update(fusion="add"), "fusion is 'add'; it must be"),
    "text-for-a-number": (lambda data: data["config"]["geometry"].update(width="64"), "geometry.width can't be '64'"),
    "fraction-of-a-block": (lambda data: data["config"]["geometry"].update(depth=1.5), "geometry.depth can't be 1.5"),
    "section-is-a-list": (lambda data: data["config"].update(geometry=[1]), "geometry must be an object"),
    "heads": (lambda data: data["config"]["geometry"].update(heads=5), "does not divide into 5 heads"),
    "negative-depth": (lambda data: data["config"]["geometry"].update(depth=-1), "depth must be positive"),
    "negative-mlp": (lambda data: data["config"]["geometry"].update(mlp_ratio=-4.0), "mlp_ratio"),
    "no-mlp": (lambda data: data["config"]["geometry"].update(mlp_ratio=0), "mlp_ratio"),
    "another-width": (lambda data: data["config"]["geometry"].update(width=128), "has shape"),
    "another-size": (lambda data: data["config"]["geometry"].update(image_size=96), "`pos_embed` has shape"),
    "another-depth": (lambda data: data["config"]["geometry"].update(depth=2), "weights are missing"),
    "alpha": (lambda data: data["config"]["method"].update(alpha=1.5), "alpha is 1.5"),
    "alpha-too-small": (lambda data: data["config"]["method"].update(alpha=0.1), "alpha 0.1 selects 0 of 4 tokens"),
    "score-block": (lambda data: data["config"]["method"].update(score_first_block=7), "score_first_block 7"),
    "too-few-labels": (lambda data: data["labels"].pop(), "labels are not 5 strings"),
    "labels-with-half-a-character": (
        lambda data: data["labels"].__setitem__(2, "\ud83d"),
        r"its labels: the name of class 2, '\\ud83d', holds half of a character.*--labels",
    ),
    "labels-are-numbers": (lambda data: data.update(labels=[1, 2, 3, 4, 5]), "labels are not 5 strings"),
    "labels-are-text": (lambda data: data.update(labels="abcde"), "labels are not 5 strings"),
    "eta-too-high": (lambda data: data.update(eta=1.01), "eta is 1.01"),
    "eta-negative": (lambda data: data.update(eta=-0.1), "eta is -0.1"),
    "eta-nan": (lambda data: data.update(eta=float("nan")), "NaN is no number"),
    "eta-text": (lambda data: data.update(eta="half"), "eta is 'half'"),
    "eta-nothing": (lambda data: data.update(eta=None), "eta is None"),
    "provenance-is-text": (lambda data: data.update(provenance="a friend"), "provenance"),
    "provenance-is-a-list": (lambda data: data.update(provenance=[1]), "provenance"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_our_own_format_with_a_spoilt_description(case: str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    config = config_of(64, width=64, heads=1, depth=1)
    save_checkpoint(path, lively_model(config), labels=list("abcde"), provenance={"by": "nobody"})
    with safetensors.safe_open(str(path), framework="pt") as file:
        described = json.loads(file.metadata()["sacvit"])
    change, match = SPOILT[case]
    change(described)
    metadata = {"sacvit": json.dumps(described)}
    safetensors.torch.save_file(lively_model(config).state_dict(), path, metadata=metadata)
    refuse(path, match)


def test_labels_of_our_own_format_are_rescued_by_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_checkpoint(path, lively_model(config_of(64, width=64, heads=1, depth=1)), labels=["a", "b\x1b", "c"])
    refuse(path, "its labels are not 5 strings; give the names with --labels")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    assert load_checkpoint(path, overrides=Overrides(labels=tmp_path / "names.txt")).labels == list("abcde")


@pytest.mark.parametrize("text", ["{", "[]", '"text"', "3", "null, null", "[" * 100_000])
def test_our_own_format_with_a_description_that_is_no_json_object(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    safetensors.torch.save_file(deit_weights(64), path, metadata={"sacvit": text})
    refuse(path, "not valid JSON|has no config")


def test_our_own_format_with_weights_of_another_model(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    described = {"config": config_of(64, width=64, heads=1, depth=2).to_dict(), "labels": None, "eta": 0.5}
    safetensors.torch.save_file(deit_weights(64), path, metadata={"sacvit": json.dumps(described)})
    refuse(path, "6 weights are missing, `reuse_block")
