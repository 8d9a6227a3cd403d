"""`--vs`: a user's own ONNX files, and those that can't be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from sacvit_deploy.errors import UsageError

from .conftest import run


@pytest.fixture
def onnx_file(tiny_bundle: Path, tmp_path: Path) -> Any:
    """Writer of the plain DeiT under other interfaces."""

    def make(batch: int | str = "n", size: int | str = 224, name: str = "pixels", more_inputs: bool = False) -> Path:
        model = onnx.load(tiny_bundle / "deit.fp32.onnx")
        graph = model.graph
        for node in graph.node:
            for at, value in enumerate(node.input):
                if value == graph.input[0].name:
                    node.input[at] = name
        graph.input[0].CopyFrom(helper.make_tensor_value_info(name, 1, [batch, 3, size, size]))
        if more_inputs:
            graph.input.append(helper.make_tensor_value_info("mask", 1, [batch, 1]))
        path = tmp_path / f"onnx_file-{batch}-{size}.onnx"
        onnx.save(model, path)
        return path

    return make


def bench_vs(bundle: Path, path: Path, *more: object) -> list[dict[str, Any]]:
    printed = run(bundle, "--pictures", 5, "--continue", 0.4, "--against", "deit", "--precision", "fp32", "--rounds", 1,
                  "--processes", 0, "--json", "--vs", path, *more)  # fmt: skip
    found: list[dict[str, Any]] = json.loads(printed)["rows"]
    return found


def test_other_input_names_and_fixed_batches_run(tiny_bundle: Path, onnx_file: Any) -> None:
    names = [row["name"] for row in bench_vs(tiny_bundle, onnx_file(), "--batch", 4)]
    assert names[-1] == "vs:onnx_file-n-224.onnx as is"
    row = bench_vs(tiny_bundle, onnx_file(batch=2), "--batch", 4)[-1]
    assert (row["failed"], row["note"]) == (0, "its file takes batches of 2")


def test_onnx_files_that_can_not_be_compared(tiny_bundle: Path, onnx_file: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    for path, said in (
        (onnx_file(batch=3), "batches of 3 alone"),
        (onnx_file(more_inputs=True), "takes 2 inputs"),
        (text, "can't load"),
        (tiny_bundle / "sac.fp32.onnx", "takes 4 inputs"),
        (tiny_bundle / "ee.fp32.onnx", "112 px"),
    ):
        with pytest.raises(UsageError, match=said):
            bench_vs(tiny_bundle, path, "--batch", 4)
