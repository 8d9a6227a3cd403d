"""A small bench of the tiny bundle, run once; its baselines, exported once."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.baselines.store import Baselines, find_or_export
from sacvit_deploy.benchmarks.cli import command as bench
from sacvit_deploy.bundle.bundle import open_bundle

# The runner of commands as processes that can't import torch, which the tests of the commands have, too.
_spec = importlib.util.spec_from_file_location("commands_conftest", Path(__file__).parents[1] / "commands/conftest.py")
assert _spec is not None and _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
command = _module.command


@pytest.fixture(scope="session")
def baselines_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `baselines`; shared, so change nothing in it."""
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture(scope="session")
def baselines(tiny_bundle: Path, baselines_folder: Path) -> Baselines:
    """Export the tiny bundle's baselines in fp32: SaiT alone, as its two blocks are too few for STViT."""
    return find_or_export(baselines_folder, open_bundle(tiny_bundle), "fp32", print)


@pytest.fixture(scope="session")
def class_folder(model: SACViT, image_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in class folders: stage 1 is right on some, stage 2 on others; one file is no image."""
    folder = tmp_path_factory.mktemp("classes")
    for number, path in enumerate(image_paths):
        label = model.predict(path, eta=float(number % 2)).label
        (folder / label).mkdir(exist_ok=True)
        shutil.copy(path, folder / label / path.name)
    (folder / label / "bad.jpg").write_bytes(b"no image")
    return folder


@dataclass(frozen=True)
class Benched:
    """Output and files of one call of the command."""

    printed: str
    folder: Path
    data: dict[str, object]


@pytest.fixture(scope="session")
def benched(
    tiny_bundle: Path,
    baselines: Baselines,
    baselines_folder: Path,
    class_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Benched:
    """Bench with all kinds of rows: both scopes, forced shares and real gates, two batches, labels, an ONNX file."""
    folder = tmp_path_factory.mktemp("bench")
    onnx_file = folder / "onnx_file.onnx"
    deit = tiny_bundle / "deit.fp32.onnx"
    onnx_file.write_bytes(deit.read_bytes())
    shutil.copy(tiny_bundle / "weights.fp32.bin", folder)
    found = run(
        tiny_bundle, "--data", class_folder, "--scope", "engine,file", "--batch", "1,3", "--eta", "0.6", "--continue",
        "0.5,1", "--precision", "fp32", "--against", "deit,sait,sait-mass,stvit", "--vs", onnx_file, "--rounds", 2,
        "--processes", 1, "--opponents", baselines_folder, "--threads", 1, "--scaled", "--out", folder / "out", "--png",
    )  # fmt: skip
    data = json.loads((folder / "out" / "bench.json").read_text())
    return Benched(found, folder / "out", data)


def run(*arguments: object, expect: int = 0) -> str:
    """Call `sacvit bench` in this process; what it prints."""
    done = CliRunner().invoke(bench, [str(argument) for argument in arguments], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    assert (done.return_value or 0) == expect
    return done.output
