"""Models over rows, which are written as protobuf by hand: valid ONNX, and what they compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.backends.onnxruntime.row_models import add_model, join_model, rows_model

DTYPES = {"a long name": np.dtype(np.float32), "half": np.dtype(np.float16), "whole": np.dtype(np.int64)}
MODELS = {"rows": rows_model(DTYPES), "join": join_model(DTYPES), "add": add_model()}
SESSIONS = {
    name: onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]) for name, model in MODELS.items()
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_onnx(name: str) -> None:
    """But for the shapes of inputs and outputs: their rank is open, which ONNX Runtime takes and ONNX does not say."""
    model = onnx.load_from_string(MODELS[name])
    for item in (*model.graph.input, *model.graph.output):
        if not item.type.tensor_type.HasField("shape"):
            sizes: list[str | int] = ["taken"] if item.name == "indices" else ["rows", 3, 2]
            for size in sizes:
                dimension = item.type.tensor_type.shape.dim.add()
                setattr(dimension, "dim_param" if isinstance(size, str) else "dim_value", size)
    onnx.checker.check_model(model)


def tensors(rows: int, seed: int) -> dict[str, np.ndarray]:
    values = np.random.default_rng(seed)
    return {name: values.integers(-99, 99, (rows, 3, 2)).astype(dtype) for name, dtype in DTYPES.items()}


@given(rows=st.integers(1, 6), indices=st.lists(st.integers(0, 5), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_rows_are_taken(rows: int, indices: list[int], seed: int) -> None:
    given, taken = tensors(rows, seed), np.array(indices) % rows
    found = SESSIONS["rows"].run([f"{name} out" for name in DTYPES], given | {"indices": taken})
    for name, values in zip(DTYPES, found, strict=True):
        np.testing.assert_array_equal(values, given[name][taken])


@given(first=st.integers(1, 6), second=st.integers(1, 6), seed=st.integers(0, 99))
def test_rows_are_joined(first: int, second: int, seed: int) -> None:
    parts = tensors(first, seed), tensors(second, seed + 1)
    inputs = {f"{name} {end}": part[name] for end, part in enumerate(parts) for name in DTYPES}
    found = SESSIONS["join"].run([f"{name} out" for name in DTYPES], inputs)
    for name, values in zip(DTYPES, found, strict=True):
        np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))


def test_the_probe_adds() -> None:
    assert SESSIONS["add"].run(None, {"x": np.array([3], np.float32)})[0] == 6
