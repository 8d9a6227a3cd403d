"""Hostile checkpoints: a few bytes that would unfold without end are refused in one sentence before they do."""

from __future__ import annotations

import argparse
import json
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.bounds import LEVELS, MOST_ELEMENTS, check_tree, check_unfolded
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.reading import METADATA_KEY, read_file
from tests.data import record

from .making import deit_weights


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as said:
        load_checkpoint(path)
    message = str(said.value)
    assert "\n" not in message and len(message) < 500
    return message


def inside_itself() -> dict[str, Any]:
    content: dict[str, Any] = {"model": deit_weights()}
    content["model"]["again"] = content
    return content


def inside_itself_often() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content.update({f"model{number}": content for number in range(100)}, labels=content, classes=content)
    return content


def doubled() -> dict[str, Any]:
    content: dict[str, Any] = {"a": 1}
    for _ in range(50):
        content = {"one": content, "two": content}
    return content


def deep() -> dict[str, Any]:
    content: dict[str, Any] = {}
    for _ in range(3 * LEVELS):
        content = {"labels": content}
    return content


def in_options() -> dict[str, Any]:
    options = argparse.Namespace()
    options.classes = {"classes": options}
    return {"model": deit_weights(), "args": options}


@pytest.mark.parametrize("make", [inside_itself, inside_itself_often, doubled, deep, in_options])
def test_dicts_without_end(make: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="dicts and lists"):
        check_tree(make())
    torch.save(make(), tmp_path / "endless.pth")
    assert "dicts and lists" in refusal(tmp_path / "endless.pth")


def test_what_trainers_write_passes(tmp_path: Path) -> None:
    weights = deit_weights()
    model = torch.nn.Linear(3, 3)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimiser.step()
    content = {"model": weights, "model_ema": weights, "optimizer": optimiser.state_dict(), "flops": [1.0] * 1000}
    torch.save({**content, "args": argparse.Namespace(model="deit", lr=1e-3)}, tmp_path / "trained.pth")
    assert set(read_file(tmp_path / "trained.pth")) == {*content, "args"}


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**20, 2**10), (2**62,)])
@pytest.mark.parametrize("name", ["head.weight", "blocks.0.mlp.fc1.weight", "pos_embed", "more"])
def test_one_number_as_a_giant(shape: tuple[int, ...], name: str, tmp_path: Path) -> None:
    torch.save({"model": {**deit_weights(), name: torch.zeros(1).expand(shape)}}, tmp_path / "giant.pth")
    message = refusal(tmp_path / "giant.pth")
    assert "unfold to" in message or "which no network needs" in message


def test_many_views_of_one_tensor(tmp_path: Path) -> None:
    whole = torch.zeros(1 << 20)
    torch.save({f"blocks.{number}.mlp.fc1.weight": whole.view(1024, 1024) for number in range(200)}, tmp_path / "a.pth")
    assert "unfold to 0.8 GB from 4.2 MB" in refusal(tmp_path / "a.pth")


def test_a_zip_that_unpacks_to_far_more(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data/0", "w") as file:
            for _ in range(280):
                file.write(bytes(1 << 20))
        archive.writestr("archive/data.pkl", b"")
    assert "unpacks to 0.3 GB" in refusal(tmp_path / "bomb.pth")


def described(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write the tiny checkpoint with other metadata."""
    with safe_open(str(record.TINY), framework="pt") as file:
        metadata = json.loads(file.metadata()[METADATA_KEY])
    change(metadata)
    save_file(load_file(record.TINY), path, metadata={METADATA_KEY: json.dumps(metadata)})
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data["config"]["geometry"].update(depth=10**7), "depth is 10000000; it can be 1,024 at most"),
        (lambda data: data["config"]["geometry"].update(depth=1000, width=512, heads=2), "describes a network of"),
        (lambda data: data["config"]["geometry"].update(width=65536, heads=2), "describes a network of"),
        (lambda data: data["config"]["geometry"].update(classes=10**6), "describes a network of|labels are not"),
        (lambda data: data["config"]["geometry"].update(image_size=4096), "describes a network of"),
        (lambda data: data["config"]["geometry"].update(mlp_ratio=1e9), "mlp_ratio"),
        (lambda data: data["config"]["geometry"].update(registers=10**9), "registers"),
        (lambda data: data["config"]["geometry"].update(heads=True), "heads"),
        (lambda data: data.update(eta=True), "eta"),
        (lambda data: data.update(eta=float("nan")), "NaN"),
        (lambda data: data.update(provenance=10**400), "too large"),
    ],
)
def test_metadata_that_promises_more_than_there_is(
    change: Callable[[dict[str, Any]], object], said: str, tmp_path: Path
) -> None:

    assert re.search(said, refusal(described(tmp_path / "more.safetensors", change)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pth")
    assert "it is a FIFO, not a file" in refusal(tmp_path / "fifo.pth")
    torch.save(deit_weights(), tmp_path / "model.pth")
    os.mkfifo(tmp_path / "config.json")
    load_checkpoint(tmp_path / "model.pth")  # of the files beside it, those that are none are not there


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b'{"architecture": "\xff"}'])
def test_settings_that_python_can_not_read(raw: bytes, tmp_path: Path) -> None:
    torch.save(deit_weights(), tmp_path / "model.pth")
    (tmp_path / "config.json").write_bytes(raw)
    assert "config.json is no JSON" in refusal(tmp_path / "model.pth")


def test_a_header_is_not_quoted_without_end(tmp_path: Path) -> None:
    header = json.dumps({"a": "y" * 100_000}).encode()
    (tmp_path / "long.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "not a whole safetensors file" in refusal(tmp_path / "long.safetensors")


def test_a_giant_without_bytes_is_refused_by_its_shape() -> None:
    """A meta tensor takes no memory, so only its shape tells."""
    with pytest.raises(CheckpointError, match="which no network needs"):
        check_unfolded([torch.empty(MOST_ELEMENTS + 1, device="meta")], 1000)
    check_unfolded([torch.empty(1000, device="meta")], 1000)
