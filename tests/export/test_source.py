"""Checkpoints as folders, shards, and models of a Hub."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from sacvit_deploy.errors import BackendError, CheckpointError
from sacvit_deploy.export.checkpoint import load_checkpoint

from .making import Weights, deit_weights

WEIGHTS = deit_weights(64, depth=2)
NAMES = ["model-00001-of-00002", "model-00002-of-00002"]


def write_shards(folder: Path, *, suffix: str = ".safetensors", index: str = "model.safetensors.index.json") -> None:
    """Write the weights as transformers does those that are too many for one file."""
    places = {name: NAMES[number % 2] + suffix for number, name in enumerate(WEIGHTS)}
    for file in sorted(set(places.values())):
        shard = {name: value for name, value in WEIGHTS.items() if places[name] == file}
        if suffix == ".bin":
            torch.save(shard, folder / file)
        else:
            safetensors.torch.save_file(shard, folder / file, metadata={"format": "pt"})
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))


def assert_loaded(given: str | Path) -> None:
    state = load_checkpoint(given).model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "best.pth", "last.ckpt"])
def test_a_folder_with_one_file_of_weights(name: str, tmp_path: Path) -> None:
    if name.endswith(".safetensors"):
        safetensors.torch.save_file(WEIGHTS, tmp_path / name)
    else:
        torch.save(WEIGHTS, tmp_path / name)
    (tmp_path / "README.md").write_text("# A model")
    assert_loaded(tmp_path)


def test_the_standard_name_wins_over_other_files(tmp_path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    torch.save({"optimizer": {}}, tmp_path / "optimizer.pt")
    assert_loaded(tmp_path)


@pytest.mark.parametrize(
    ("suffix", "index"),
    [(".safetensors", "model.safetensors.index.json"), (".bin", "pytorch_model.bin.index.json")],
)
def test_shards(suffix: str, index: str, tmp_path: Path) -> None:
    write_shards(tmp_path, suffix=suffix, index=index)
    assert_loaded(tmp_path)
    assert_loaded(tmp_path / index)


def edit_index(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "model.safetensors.index.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def without_second(folder: Path) -> None:
    (folder / f"{NAMES[1]}.safetensors").unlink()


def overlapping(folder: Path) -> None:
    second = folder / f"{NAMES[1]}.safetensors"
    shard: Weights = safetensors.torch.load_file(second)
    safetensors.torch.save_file(shard | {"cls_token": WEIGHTS["cls_token"]}, second)


def short(folder: Path) -> None:
    second = folder / f"{NAMES[1]}.safetensors"
    shard: Weights = safetensors.torch.load_file(second)
    shard.pop(sorted(shard)[0])
    safetensors.torch.save_file(shard, second)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (without_second, r"lacks model-00002-of-00002.safetensors, one of 2 shards"),
    "overlapping": (overlapping, r"`cls_token` is in model-00002-of-00002.safetensors and in another shard"),
    "short": (short, r"is not in model-00002-of-00002.safetensors, where the index has it"),
    "unlisted": (
        lambda folder: edit_index(folder, lambda data: data["weight_map"].pop("cls_token")),
        "holds `cls_token`, which the index does not place there",
    ),
    "outside": (
        lambda folder: edit_index(folder, lambda data: data["weight_map"].update(x="../secret.safetensors")),
        "names '../secret.safetensors', which is no plain file name",
    ),
    "no-map": (lambda folder: edit_index(folder, lambda data: data.pop("weight_map")), "has no `weight_map`"),
    "no-json": (lambda folder: (folder / "model.safetensors.index.json").write_text("{"), "is no JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_shards_that_do_not_fit_together(case: str, tmp_path: Path) -> None:
    write_shards(tmp_path)
    change, match = BROKEN[case]
    change(tmp_path)
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(tmp_path)


def test_a_config_that_is_no_json(tmp_path: Path) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("<html>")
    with pytest.raises(CheckpointError, match=r"config.json is no JSON"):
        load_checkpoint(tmp_path)


# The Hub, behind a stand-in for its library: there is no network here, and the library's one call is its contract.


def hub(folder: Path, calls: list[tuple[Any, ...]]) -> types.ModuleType:
    module = types.ModuleType("huggingface_hub")

    def snapshot_download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        calls.append((name, revision, tuple(allow_patterns)))
        if name == "nobody/nothing":
            raise OSError("404 Client Error: repository not found\nmore lines")
        return str(folder)

    module.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    return module


def test_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model.safetensors")
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub(tmp_path, calls))
    assert_loaded("hf-hub:somebody/vit")
    assert_loaded("hf-hub:somebody/vit@v1")
    assert [call[:2] for call in calls] == [("somebody/vit", None), ("somebody/vit", "v1")]
    assert {"config.json", "*.safetensors"} <= set(calls[0][2])
    with pytest.raises(CheckpointError, match=r"can't get nobody/nothing from .*404 Client Error") as caught:
        load_checkpoint("hf-hub:nobody/nothing")
    assert len(str(caught.value).splitlines()) == 1


def test_without_the_hubs_library_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BackendError, match=r"huggingface_hub.*pip install"):
        load_checkpoint("hf-hub:somebody/vit")


def test_one_shard_of_several(tmp_path: Path) -> None:
    write_shards(tmp_path)
    first, index = tmp_path / f"{NAMES[0]}.safetensors", tmp_path / "model.safetensors.index.json"
    with pytest.raises(
        CheckpointError, match=f"is one of 2 shards; give all of them by their folder, {tmp_path}, or by "
    ):
        load_checkpoint(first)
    index.unlink()
    for given in (first, tmp_path):
        with pytest.raises(CheckpointError, match="one of 2 shards, and model.safetensors.index.json, .*is missing"):
            load_checkpoint(given)
    safetensors.torch.save_file(WEIGHTS, tmp_path / "model-00001-of-00001.safetensors")
    assert_loaded(tmp_path / "model-00001-of-00001.safetensors")


COMPANIONS = ("optimizer.pt", "scheduler.pt", "training_args.bin", "rng_state.pth", "rng_state_0.pth", "scaler.pt")


def write_trainers_folder(folder: Path, name: str = "pytorch_model.bin") -> Path:
    """Write a folder as transformers' Trainer does."""
    folder.mkdir(parents=True)
    for companion in COMPANIONS:
        torch.save({"state": {0: torch.zeros(3)}}, folder / companion)
    (folder / "trainer_state.json").write_text("{}")
    torch.save(WEIGHTS, folder / name)
    return folder


def test_a_trainers_folder(tmp_path: Path) -> None:
    assert_loaded(write_trainers_folder(tmp_path / "checkpoint-500"))
    assert_loaded(write_trainers_folder(tmp_path / "checkpoint-1000", "weights.bin"))
    with pytest.raises(CheckpointError, match=r"in folders below; give one: \S*checkpoint-1000, \S*checkpoint-500$"):
        load_checkpoint(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "DeiTImageProcessor"}')
    checkpoint = load_checkpoint(tmp_path / "checkpoint-500")
    assert checkpoint.model.config.preprocessing.mean == (0.5, 0.5, 0.5)
    assert "preprocessor_config.json is of the folder above checkpoint-500, which has none" in checkpoint.notes


@pytest.mark.parametrize("name", COMPANIONS)
def test_what_trainers_write_beside_the_weights(name: str, tmp_path: Path) -> None:
    folder = write_trainers_folder(tmp_path / "run")
    with pytest.raises(CheckpointError, match=f"{name} holds .*, not weights; give the folder, {folder}"):
        load_checkpoint(folder / name)
    with pytest.raises(CheckpointError, match="trainer_state.json is JSON, not weights; give the folder"):
        load_checkpoint(folder / "trainer_state.json")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("facebook/deit-small-patch16-224", "facebook/deit-small-patch16-224"),
        ("google/vit-base-patch16-224@main", "google/vit-base-patch16-224@main"),
        ("https://huggingface.co/timm/vit_tiny.augreg_in21k/tree/main", "timm/vit_tiny.augreg_in21k"),
        ("hf:timm/vit_tiny", "timm/vit_tiny"),
    ],
)
def test_a_name_on_the_hub_without_its_mark(given: str, name: str) -> None:
    with pytest.raises(
        CheckpointError, match=f"no checkpoint at {given}; a model on the .* Hub is called hf-hub:{name}$"
    ):
        load_checkpoint(given)


@pytest.mark.parametrize("given", ["runs/best.pth", "best", "/tmp/nothing", "a/b/c", "runs/model.safetensors"])
def test_a_path_is_no_name_on_the_hub(given: str) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at") as refused:
        load_checkpoint(given)
    assert "hf-hub" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (
            {"architecture": "vit_base_patch16_224", "num_features": 768},
            "config.json says width 768, the weights have 64",
        ),
        ({"model_type": "vit", "num_hidden_layers": 12}, "config.json says depth 12, the weights have 2"),
        ({"model_type": "vit", "num_attention_heads": 5, "hidden_size": 80}, "width 80, the weights have 64"),
        ({"model_type": "vit", "hidden_act": "relu"}, "its MLPs use relu, by config.json"),
        ({"architecture": "vit_tiny", "global_pool": "avg"}, "by config.json, averages the patch tokens"),
        ({"model_type": "resnet"}, "if config.json is of another model than the weights, keep them in another folder"),
        ({"architecture": "resnet50"}, "is of another model than the weights, keep them in another folder"),
    ],
)
def test_a_config_of_another_model_beside_the_weights(config: dict[str, Any], match: str, tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "net.pth")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=match):
        load_checkpoint(tmp_path / "net.pth")
