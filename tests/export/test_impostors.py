"""Files that are something else than a checkpoint, and models pickled whole: what each is, and the way out."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from sacvit_deploy.export.checkpoint import load_checkpoint

from .making import Weights, deit_weights
from .test_refusals import refuse


def zipped(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"content")

    return write


def script(path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 3)), path)


def graph(path: Path) -> None:
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], [])), path)


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "model.pth")


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, kernel=np.ones(3))


# Written by the libraries themselves where they are here.
IMPOSTORS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "torchscript": (script, r"a TorchScript archive.*torch.jit.load\(FILE\).state_dict"),
    "onnx": (graph, "an ONNX file.*the PyTorch checkpoint that it was exported from"),
    "zip": (zipped("model.pth", "readme.txt"), "a plain zip archive with 2 files, `model.pth` first; unpack it"),
    "zip-of-one": (zipped("weights/model.pth"), "a plain zip archive with `weights/model.pth`; unpack it"),
    "empty-zip": (zipped(), "an empty zip archive"),
    "program": (zipped("a/archive_format", "a/models/model.json"), r"a program of torch.export"),
    "package": (zipped("a/.data/extern_modules", "a/model/model.pkl"), "a torch.package, which holds code"),
    "keras": (zipped("config.json", "model.weights.h5"), "a Keras file"),
    "npz": (arrays, "a NumPy archive, as JAX's ViTs are published"),
    "tar": (tarred, "a tar archive; unpack it"),
    "hdf5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "an HDF5 file"),
    "tflite": (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(99)), "a TensorFlow Lite file"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("case", IMPOSTORS)
def test_a_file_of_another_kind_is_named(case: str, suffix: str, tmp_path: Path) -> None:
    write, match = IMPOSTORS[case]
    write(tmp_path / f"model{suffix}")
    refuse(tmp_path / f"model{suffix}", f"is {match}")


def test_a_bundle_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    refuse(tmp_path, "is a bundle, which an export wrote; give the checkpoint")


class Whole(torch.nn.Module):
    """A model that somebody pickles with `torch.save(model)`."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        for name, value in weights.items():
            inner: torch.nn.Module = self
            *places, last = name.split(".")
            for place in places:
                if not hasattr(inner, place):
                    inner.add_module(place, torch.nn.Module())
                inner = getattr(inner, place)
            inner.register_parameter(last, torch.nn.Parameter(value))


@pytest.mark.parametrize("key", [None, "model"])
def test_a_model_pickled_whole_is_named_and_read_if_trusted(key: str | None, tmp_path: Path) -> None:
    weights = deit_weights(64, depth=1)
    torch.save(Whole(weights) if key is None else {key: Whole(weights), "epoch": 3}, tmp_path / "a.pth")
    refuse(tmp_path / "a.pth", r"needs code to load .*test_impostors.Whole.*a model pickled whole.*model.state_dict")
    loaded = load_checkpoint(tmp_path / "a.pth", trust=True)
    assert torch.equal(loaded.model.head.weight, weights["head.weight"])


def test_a_model_pickled_whole_whose_code_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(Whole(deit_weights(64, depth=1)), tmp_path / "a.pth")
    monkeypatch.delattr(sys.modules[__name__], "Whole")
    match = r"holds objects of code that is not here .*Whole.*save `model.state_dict\(\)` where that code is"
    refuse(tmp_path / "a.pth", match, trust=True)
