"""The rewritten cut of queries, keys and values: found in every engine, equal to the bit, and nothing else touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openvino import opset13 as ops

from sacvit_deploy.backends.openvino.heads import parts_first
from sacvit_deploy.bundle.bundle import open_bundle

from .test_openvino import sac_inputs

SETTINGS = {"INFERENCE_PRECISION_HINT": "f32"}


def run(model: Any, feed: list[np.ndarray]) -> list[np.ndarray]:
    found = openvino.Core().compile_model(model, "CPU", SETTINGS)(feed)
    return [np.array(found[at]) for at in range(len(model.outputs))]


def cut(shape: Any, order: tuple[int, ...] = (0, 2, 1, 3), axis: int = 1, parts: int = 3, **kw: list[int]) -> Any:
    """A transpose and a cut of its result; each part is doubled, so that there is something to compute."""
    source = ops.parameter(shape, np.float32)
    moved = ops.transpose(source, np.array(order))
    if "lengths" in kw:
        pieces = ops.variadic_split(moved, np.array(axis), np.array(kw["lengths"]))
    else:
        pieces = ops.split(moved, np.array(axis), parts)
    return openvino.Model([ops.add(output, output) for output in pieces.outputs()], [source])


@pytest.mark.parametrize("role", ["ee", "sac", "deit"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_block_of_every_engine(tiny_bundle: Path, role: str, precision: str) -> None:
    bundle = open_bundle(tiny_bundle)
    path = bundle.checked_files(precision)[role]
    before, after = (openvino.Core().read_model(path) for _ in range(2))
    assert parts_first(after) == bundle.manifest.config.geometry.depth
    assert parts_first(after) == 0
    size = {"ee": 112, "deit": 224}.get(role, 0)
    inputs = sac_inputs(2, 24) if role == "sac" else {"image": np.random.default_rng(1).random((2, 3, size, size))}
    feed = [inputs[port.any_name].astype(port.element_type.to_dtype()) for port in before.inputs]
    for one, other in zip(run(before, feed), run(after, feed), strict=True):
        np.testing.assert_array_equal(one, other)


@given(batch=st.integers(1, 3), tokens=st.integers(1, 9), heads=st.integers(1, 4), size=st.integers(1, 5))
def test_the_same_parts(batch: int, tokens: int, heads: int, size: int) -> None:
    model = cut([-1, -1, 3 * heads, size])
    assert parts_first(model) == 1
    values = np.random.default_rng(0).standard_normal((batch, tokens, 3 * heads, size)).astype(np.float32)
    wanted = np.split(2 * values.transpose(0, 2, 1, 3), 3, axis=1)
    for one, other in zip(run(model, [values]), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "model",
    [
        cut([2, 5, 12, 4], parts=2),
        cut([2, 5, 12, 9], axis=3),
        cut([2, 12, 5, 4], order=(0, 1, 2, 3)),
        cut([2, 5, 12, 4], order=(0, 2, 3, 1)),
        cut([2, 5, 12, 4], lengths=[2, 4, 6]),
        cut([2, 5, -1, 4]),
        cut([2, 5, 12, -1]),
        cut(openvino.PartialShape.dynamic()),
    ],
    ids=[
        "two",
        "other axis",
        "not moved",
        "moved otherwise",
        "unequal",
        "unknown heads",
        "unknown size",
        "unknown rank",
    ],
)
def test_other_cuts_are_left_alone(model: Any) -> None:
    names = [op.get_friendly_name() for op in model.get_ordered_ops()]
    assert parts_first(model) == 0
    assert [op.get_friendly_name() for op in model.get_ordered_ops()] == names
