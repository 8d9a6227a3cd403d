"""What click would take in silence is refused, and what users of other tools type gets a hint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sacvit_deploy.commands.group import COMMANDS, load_command
from sacvit_deploy.commands.strict import HINTS, StrictCommand

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLE = EXAMPLES / "int8/model.sacvit"
PICTURES = sorted((EXAMPLES / "pictures").iterdir())[:3]


@click.command("toy", cls=StrictCommand)
@click.argument("words", nargs=-1)
@click.option("--batch", "-b", "size", type=int, default=1)
@click.option("--pair", nargs=2)
@click.option("--vs", multiple=True)
@click.option("--quiet", is_flag=True)
def toy(**given: Any) -> None:
    click.echo(json.dumps(given))


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(toy, list(arguments))
    return done.exit_code, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--batch", "1", "--batch", "8"],
        ["--batch=8", "word", "--batch=8"],
        ["-b", "1", "--batch", "8"],
        ["--pair", "a", "b", "--pair", "c", "d"],
    ],
)
def test_a_single_option_given_twice(arguments: list[str]) -> None:
    code, said = run(*arguments)
    assert code == 2
    assert f"{'--pair' if '--pair' in arguments else '--batch'} is given twice" in said


def test_what_may_be_repeated() -> None:
    code, said = run("--vs", "a", "--quiet", "--vs", "b", "--quiet", "--batch", "8", "--", "--batch", "--batch")
    assert code == 0
    given = json.loads(said)
    assert (given["vs"], given["size"], given["words"]) == (["a", "b"], 8, ["--batch", "--batch"])


def test_every_command_is_strict_and_has_help_by_h(command: Any) -> None:
    for name in COMMANDS:
        assert isinstance(load_command(name), StrictCommand), name
    for arguments in (["sacvit", "-h"], ["sacvit", "infer", "-h"], ["sacvit-infer", "-h"], ["sacvit", "doctor", "-h"]):
        assert command(*arguments).stdout.startswith("Usage: ")


def test_no_hint_names_an_option_that_is_there() -> None:
    for name in COMMANDS:
        own = {option for param in load_command(name).params for option in param.opts}
        assert not own & set(HINTS), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--conf", "0.3"], ["'--conf'", "--eta is the probability"]),
        (["--imgsz=640"], ["'--imgsz'", "image size is fixed at export"]),
        (["--batch", "1", "--batch", "8"], ["--batch is given twice"]),
        (["--backend", "abacus"], ["unknown backend 'abacus'", "onnxruntime"]),
        (["--precision", "bf16"], ["unknown precision 'bf16'", "auto, fp32, fp16, int8"]),
    ],
)
def test_bad_usage_of_infer(command: Any, arguments: list[str], words: list[str]) -> None:
    done = command("sacvit-infer", PICTURES[0], "--bundle", BUNDLE, *arguments, expect=2)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr
    assert "--bf16" not in done.stderr and "--json" not in done.stderr


def test_where_there_is_no_eta_there_is_no_such_hint(command: Any) -> None:
    done = command("sacvit", "inspect", BUNDLE, "--conf", "0.3", expect=2)
    assert "No such option" in done.stderr and "--eta" not in done.stderr


def test_a_run_says_its_eta_and_alpha(command: Any) -> None:
    asked = ["sacvit-infer", PICTURES[0], "--bundle", BUNDLE, "--eta", "0.75", "--alpha", "0.4"]
    assert command(*asked).stderr.strip().endswith("; eta 0.75, alpha 0.4")
    answer = json.loads(command(*asked, "--json").stdout)
    assert (answer["eta"], answer["alpha"]) == (0.75, 0.4)
    manifest = json.loads((BUNDLE / "manifest.json").read_text())
    answer = json.loads(command(*asked[:-4], "--json").stdout)
    assert answer["eta"] == manifest["variants"]["int8"].get("eta", manifest["eta"])
    assert answer["alpha"] == manifest["method"]["alpha"]


def test_the_documents_list_the_fields(command: Any) -> None:
    text = (EXAMPLES.parent / "docs/python.md").read_text(encoding="utf-8").partition("## JSON")[2]
    table = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    listed = [word.strip("` ") for cell in table for word in cell.split(",")]
    answer = json.loads(command("sacvit-infer", PICTURES[0], "--bundle", BUNDLE, "--eta", "1", "--json").stdout)
    assert set(listed) - {"fallback"} == set(answer)  # which only a stage 2 on another machine has
    for step in answer["timing_ms"]:
        assert f"`{step}`" in text
