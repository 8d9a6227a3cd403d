"""README.md: each command and snippet in a code block is run, or a reason says why not; it stays short."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sacvit_deploy import __version__
from sacvit_deploy.commands.group import COMMANDS
from sacvit_deploy.export.model import ReferenceSACViT

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAX_LINES, MAX_COLUMNS = 150, 120


@dataclass(frozen=True)
class Run:
    """A command that a test runs. Its result is a file, or a line of output that the pattern matches.

    more: options that make it short enough for a test. absent: what the command makes, and so must not be there.
    slow: it takes more than a few seconds.
    """

    makes: str = ""
    prints: str = ""
    more: str = ""
    absent: str = ""
    slow: bool = False


@dataclass(frozen=True)
class Target:
    """A target of make that is only looked up in the Makefile, because of what it needs."""

    needs: str


@dataclass(frozen=True)
class Elsewhere:
    """An installation from the network; the test in this file does without."""

    test: str


# Every command of a code block in README.md. `model.pth` is a tiny random checkpoint, `model.sacvit` its bundle.
CHECKS: dict[str, Run | Target | Elsewhere] = {
    "sacvit-export --ckpt model.pth --fp16": Run(makes="model.sacvit/ee.fp16.onnx", absent="model.sacvit", slow=True),
    "sacvit-infer image.jpg --eta 0.6": Run(prints=r"^image\.jpg +thing \d +\d+\.\d% +(1 EE|2 SAC) "),
    "sacvit bench model.sacvit --out bench": Run(
        makes="bench/report.html",
        more="--batch 1 --continue 0.4 --pictures 4 --rounds 1 --processes 0 --precision fp32 --against deit",
    ),
    "make demo": Target("a fresh environment; run before each release"),
    "make test": Target("a fresh environment; runs this test"),
    "make wheel": Target("the network, for setuptools; tests/test_wheel.py builds it without"),
    'pip install "dist/sacvit_deploy-0.1.0-py3-none-any.whl[cpu]"': Elsewhere("tests/test_wheel.py"),
    "sacvit-infer examples/pictures --bundle examples/int8/model.sacvit": Run(prints=r"/01_panda_medium\.jpg +panda "),
    "make check": Target("a fresh environment; runs this test"),
}


def code_blocks(language: str) -> list[str]:
    """Return the fenced code blocks of a language, without their fences."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [block for name, block in blocks if name == language]


def shell_commands() -> Iterator[str]:
    """Give the commands of the blocks that name no language, without comments."""
    for block in code_blocks(""):
        for line in block.splitlines():
            command = line.partition("#")[0].strip()
            if command:
                yield command


@pytest.fixture
def folder(
    tiny_bundle: Path,
    reference_model: ReferenceSACViT,
    image_paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The current folder: the files that README's commands and snippets name."""
    torch.save({"model": reference_model.state_dict()}, tmp_path / "model.pth")
    shutil.copytree(tiny_bundle, tmp_path / "model.sacvit")
    for name, source in zip(("image.jpg", "photo.jpg"), image_paths, strict=False):
        shutil.copy(source, tmp_path / name)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SACVIT_BUNDLE", raising=False)
    return tmp_path


def test_every_command_is_known_here() -> None:
    assert set(shell_commands()) == set(CHECKS)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] if check.slow else [])
        for command, check in CHECKS.items()
        if isinstance(check, Run)
    ],
)
def test_command_runs(command: str, folder: Path) -> None:
    check = CHECKS[command]
    assert isinstance(check, Run)
    if check.absent:
        shutil.rmtree(folder / check.absent)
    program, *arguments = f"{command} {check.more}".split()
    done = subprocess.run(
        [str(Path(sysconfig.get_path("scripts")) / program), *arguments],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(check.prints, done.stdout, re.MULTILINE), done.stdout
    assert (folder / check.makes).exists()


@pytest.mark.parametrize("command", [command for command, check in CHECKS.items() if isinstance(check, Target)])
def test_make_has_the_target(command: str) -> None:
    # `make -n` would run the lines that call make again.
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}:.*\n\t", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [command for command, check in CHECKS.items() if isinstance(check, Elsewhere)])
def test_installation_names_the_wheel(command: str) -> None:
    check = CHECKS[command]
    assert isinstance(check, Elsewhere) and (REPOSITORY / check.test).is_file()
    assert f'"dist/sacvit_deploy-{__version__}-py3-none-any.whl[' in command


def test_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = code_blocks("python")
    exec(compile(snippet, "README.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= 3 and printed[0].startswith("thing ")


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler here")
def test_cpp_compiles(tmp_path: Path) -> None:
    (snippet,) = code_blocks("cpp")
    source = tmp_path / "readme.cpp"
    source.write_text(snippet)
    include = REPOSITORY / "cpp" / "include"
    done = subprocess.run(
        ["c++", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-I", include, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_no_other_kind_of_code_block() -> None:
    assert set(re.findall(r"^```(\w+)$", README, re.MULTILINE)) <= {"python", "cpp"}


def test_table_lists_every_command() -> None:
    assert re.findall(r"^\| `sacvit ([\w-]+)`", README, re.MULTILINE) == list(COMMANDS)


def test_readme_is_short() -> None:
    lines = README.splitlines()
    assert len(lines) <= MAX_LINES
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []
