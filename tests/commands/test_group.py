"""`sacvit`: the group knows its commands without importing them."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import click
import pytest

import sacvit_deploy
from sacvit_deploy.commands.group import COMMANDS


def test_help_lists_the_commands_and_imports_none(command: Any) -> None:
    done = command("sacvit", "--help", forbid=("torch", "onnx", "onnxruntime", "safetensors"))
    listed = [line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == list(COMMANDS)
    assert {"export", "infer", "inspect", "relabel", "verify", "doctor"} <= set(listed)
    for name, (_, text) in COMMANDS.items():
        assert text.split()[0] in done.stdout, name


def test_version(command: Any) -> None:
    assert sacvit_deploy.__version__ in command("sacvit", "--version").stdout
    assert importlib.metadata.version("sacvit-deploy") == sacvit_deploy.__version__


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_listed_command_is_there(name: str) -> None:
    command = importlib.import_module(COMMANDS[name][0]).command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help


def test_unknown_command(command: Any) -> None:
    done = command("sacvit", "frobnicate", expect=2)
    assert "frobnicate" in done.stderr


def test_infer_is_the_same_in_the_group(command: Any, tiny_bundle: Path, easy: Path) -> None:
    alone = command("sacvit-infer", easy, "--bundle", tiny_bundle, "--json")
    grouped = command("sacvit", "infer", easy, "--bundle", tiny_bundle, "--json")
    first, second = json.loads(alone.stdout), json.loads(grouped.stdout)
    del first["timing_ms"], second["timing_ms"]
    assert first == second
    command("sacvit", "infer", easy, "--bundle", tiny_bundle, "--eta", "2", expect=2)
    command("sacvit", "infer", "none.jpg", "--bundle", tiny_bundle, expect=1)


def test_export_without_torch_names_the_extra(command: Any, tiny_checkpoint: Path) -> None:
    command("sacvit", "export", "--help")
    done = command("sacvit-export", "--ckpt", tiny_checkpoint, "--out", "x.sacvit", expect=1)
    assert "pip install 'sacvit-deploy[export]'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert command.notes.read_text().split()[0] in ("torch", "onnx", "safetensors")
    command.notes.unlink()  # here it was asked for rightly
