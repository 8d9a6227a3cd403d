"""CONTRIBUTING's recipe for a backend: a module of its own and its name in `BACKENDS` are all that one takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx.reference import ReferenceEvaluator

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.open import BACKENDS
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.external_weights import with_weights_inside
from sacvit_deploy.bundle.held import Held
from sacvit_deploy.commands import infer, verify
from tests.data import record

NAME = "onnx-reference"


class EvaluatorEngine:
    """onnx's own evaluator, written in Python: another library that runs the same files."""

    def __init__(self, file: bytes) -> None:
        model = onnx.load_from_string(file)
        self._evaluator = ReferenceEvaluator(model)
        types = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
        self._dtypes = {name: onnx.helper.tensor_dtype_to_np_dtype(kind) for name, kind in types.items()}

    def input_dtype(self, name: str) -> np.dtype[Any]:
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        outputs = self._evaluator.run(None, as_taken(inputs, self._dtypes, "onnx.reference"))
        return dict(zip(self._evaluator.output_names, outputs, strict=True))


class EvaluatorBackend:
    """The backend of the recipe."""

    description = "onnx.reference, CPU"

    def precisions(self, bundle: Bundle) -> list[str]:
        return [name for name in bundle.manifest.variants if name != "int8"]

    def files(self, bundle: Bundle, precision: str) -> dict[str, Held]:
        return bundle.held_files(precision)

    def open(self, stage: Held, weights: Held | None) -> EvaluatorEngine:
        return EvaluatorEngine(with_weights_inside(stage, weights))

    def device(self, files: Mapping[str, Held]) -> None:
        return None


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one change to the package: a name in a table."""
    monkeypatch.setitem(BACKENDS, NAME, lambda options: EvaluatorBackend())
    yield


def test_it_answers_as_onnx_runtime_does() -> None:
    model = SACViT(record.BEFORE, backend=NAME, precision="fp32")
    expected = SACViT(record.BEFORE, backend="onnxruntime", precision="fp32")
    assert isinstance(model.backend, EvaluatorBackend)  # ONNX Runtime would answer the same
    images = record.TINY_IMAGES[:7]
    stages = set()
    for one, other in zip(model.predict_batch(images), expected.predict_batch(images), strict=True):
        assert isinstance(one, Prediction) and isinstance(other, Prediction)
        assert (one.label, one.stage) == (other.label, other.stage)
        assert one.probability == pytest.approx(other.probability, abs=1e-4)
        np.testing.assert_array_equal(one.targets, other.targets)
        stages.add(one.stage)
    assert stages == {1, 2}


def test_commands_take_it_by_name() -> None:
    image = str(record.TINY_IMAGES[0])
    arguments = [image, "--bundle", str(record.BEFORE), "--backend", NAME, "--precision", "fp32"]
    result = CliRunner().invoke(infer.command, arguments)
    assert result.exit_code == 0, result.output
    assert EvaluatorBackend.description in result.output and "1 image;" in result.output
    arguments = [str(record.BEFORE), "--backend", NAME, "--precision", "fp32"]
    result = CliRunner().invoke(verify.command, arguments)
    assert result.exit_code == 0, result.output
    assert EvaluatorBackend.description in result.output and "fp32: ok" in result.output
