"""Objects of unknown classes in a checkpoint: left out of its options, refused elsewhere, and never loaded."""

from __future__ import annotations

import argparse
import enum
import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from sacvit_deploy.errors import CheckpointError
from sacvit_deploy.export.checkpoint import load_checkpoint

from .making import deit_weights

WEIGHTS = deit_weights(64, depth=1)
HERE = "test_strangers"


class Config:
    """Class of somebody's own, which must not be built when a file says so."""

    loaded = 0

    def __init__(self) -> None:
        self.lr = 0.1
        self.itself = self

    def __setstate__(self, state: Any) -> None:
        Config.loaded += 1
        self.__dict__.update(state)


class Pair:
    """Class that is rebuilt by a call."""

    def __init__(self, *parts: Any) -> None:
        Config.loaded += 1
        self.parts = parts

    def __reduce__(self) -> Any:
        return Pair, (1, 2)


class Colour(enum.Enum):
    """Enumeration, whose members are rebuilt by a call, too."""

    RED = 1


def strange() -> dict[str, Any]:
    return {"cfg": Config(), "pair": [Pair()], "colour": Colour.RED, "kind": Config, "mean": [0.5] * 3}


@pytest.mark.parametrize("key", ["hyper_parameters", "args", "config"])
def test_options_without_their_classes(key: str, tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, key: strange(), "epoch": 3}, tmp_path / "a.ckpt")
    Config.loaded = 0
    checkpoint = load_checkpoint(tmp_path / "a.ckpt")
    assert Config.loaded == 0
    assert torch.equal(checkpoint.model.state_dict()["cls_token"], WEIGHTS["cls_token"])
    (note,) = (note for note in checkpoint.notes if "needs code to load" in note)
    assert all(f"{HERE}.{name}" in note for name in ("Config", "Pair", "Colour"))
    if key != "config":  # the rest of the options is read
        assert checkpoint.model.config.preprocessing.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "odd",
    [Config(), Config, argparse.Namespace(cfg=Config()), [Pair()], {Colour.RED: 1},
     {"loss": torch.nn.CrossEntropyLoss(torch.ones(5)), "cfg": Config()},
     {"make": functools.partial(torch.optim.AdamW, lr=0.1), "cfg": Config()}],
)  # fmt: skip
def test_options_that_are_strange_themselves(odd: Any, tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": odd}, tmp_path / "a.ckpt")
    assert any(HERE in note for note in load_checkpoint(tmp_path / "a.ckpt").notes)


@pytest.mark.parametrize(
    "content",
    [
        {"model": WEIGHTS, "extra": Config()},
        {"model": {**WEIGHTS, "cfg": Config()}},
        {"model": Config(), "args": {}},
        Config(),
        [WEIGHTS, Config()],
        {"model": torch.nn.Linear(2, 2), "args": {"lr": 0.1}},
        {"model": WEIGHTS, "args": {"cfg": Config(), "reader": Path.read_text}},
    ],
)
def test_what_could_be_the_network_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    Config.loaded = 0
    with pytest.raises(CheckpointError, match=r"needs code to load .*--trust-checkpoint"):
        load_checkpoint(tmp_path / "a.pth")
    assert Config.loaded == 0


def test_trust_loads_the_classes(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "args": {"cfg": Config()}}, tmp_path / "a.pth")
    Config.loaded = 0
    checkpoint = load_checkpoint(tmp_path / "a.pth", trust=True)
    assert Config.loaded == 1 and not any("needs code" in note for note in checkpoint.notes)
