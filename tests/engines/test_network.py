"""ONNX files that TensorRT-RTX reads, and the errors for those it can't."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.engines.build import parse_network
from sacvit_deploy.errors import BackendError

from .conftest import PRECISIONS, Files, inputs_of, outputs_of

Variants = Callable[[int, str], Files]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_inputs_and_outputs_keep_contract_and_precision(rtx: Library, precision: str, variants: Variants) -> None:
    files = variants(224, precision)
    kind = "half" if precision == "fp16" else "float"
    ee, sac, deit = (parse_network(rtx, files[role]) for role in ("ee", "sac", "deit"))
    assert inputs_of(ee) == {"image": (kind, (-1, 3, 112, 112))}
    assert outputs_of(ee) == {
        "logits": ("float", (-1, 10)),
        "scores": ("float", (-1, 49)),
        "features": (kind, (-1, 49, 64)),
        "embeddings": (kind, (-1, 49, 64)),
        "confidence": ("float", (-1, 2)),
    }
    assert inputs_of(sac) == {
        "patches": (kind, (-1, -1, 768)),
        "positions": ("int64", (-1, -1)),
        "target_features": (kind, (-1, -1, 64)),
        "background": (kind, (-1, -1, 64)),
    }
    assert outputs_of(sac) == outputs_of(deit) == {"logits": ("float", (-1, 10)), "confidence": ("float", (-1, 2))}
    assert inputs_of(deit) == {"image": (kind, (-1, 3, 224, 224))}


def refuse(rtx: Library, path: Path) -> str:
    with pytest.raises(BackendError) as caught:
        parse_network(rtx, path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_every_objection_is_in_one_error(rtx: Library, onnx_file: Callable[[str], Path]) -> None:
    path = onnx_file("g (float[3] x) => (float[3] a, float[3] b) {\na = Foo(x)\nb = Bar(x)\n}", "first", "second")
    message = refuse(rtx, path)
    assert "node first (Foo): " in message
    assert "node second (Bar): " in message


def test_objections_to_one_file_are_not_told_of_the_next(
    rtx: Library, onnx_file: Callable[[str], Path], tmp_path: Path
) -> None:
    refuse(rtx, onnx_file("g (float[3] x) => (float[3] a) {\na = Foo(x)\n}"))
    assert "Foo" not in refuse(rtx, tmp_path / "missing.onnx")


def test_a_missing_file_is_named(rtx: Library, tmp_path: Path) -> None:
    assert "cannot be found" in refuse(rtx, tmp_path / "missing.onnx")


def test_what_is_no_onnx_is_refused(rtx: Library, tmp_path: Path) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(b"hello world" * 10)
    assert "holds no network" in refuse(rtx, path)


@pytest.mark.parametrize("size", [None, 10_000])
def test_missing_and_cut_weights_are_named(rtx: Library, size: int | None, variants: Variants, tmp_path: Path) -> None:
    files = variants(224, "fp32")
    path = Path(shutil.copy(files["ee"], tmp_path))
    if size is not None:
        (tmp_path / files["weights"].name).write_bytes(files["weights"].read_bytes()[:size])
    message = refuse(rtx, path)
    assert files["weights"].name in message
    assert ("Failed to open" if size is None else "out of range") in message
