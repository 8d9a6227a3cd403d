"""The ONNX model that resizes a decoded image as Pillow does, to the last bit: see `images/resize_weights.py`."""

from __future__ import annotations

import numpy as np

from sacvit_deploy.backends.onnxruntime.onnx_bytes import (
    ELEMENT_TYPES,
    constant,
    graph,
    integer,
    integers,
    node,
    tensor,
)
from sacvit_deploy.images.resize_weights import BITS, HALF

FLOAT, WHOLE, HALVES, BYTE = (np.dtype(kind) for kind in (np.float32, np.int32, np.float16, np.uint8))
SIZES = {
    "across_high": ("width", "side"), "across_low": ("width", "side"),
    "down_high": ("side", "height"), "down_low": ("side", "height"),
}  # fmt: skip


def fit_model(sideways: bool) -> bytes:
    """Return the model: `pixels` [rows,columns,3] uint8 and the fields of `FitWeights` to `fitted` [S,S,3] uint8.

    sideways: the sides are swapped first.
    """
    nodes = [node("Transpose", ("pixels",), "planes", integers("perm", [2, 1, 0] if sideways else [2, 0, 1]))]
    nodes.append(_cast("planes", FLOAT))
    nodes += [_cast(name, FLOAT) for name in SIZES]
    nodes += _pass("across", "planes as float32", weights_first=False)
    nodes.append(_cast("across", FLOAT))
    nodes += _pass("down", "across as float32", weights_first=True)
    nodes.append(_cast("down", BYTE))
    nodes.append(node("Transpose", ("down as uint8",), "fitted", integers("perm", [1, 2, 0])))
    inputs = [tensor("pixels", BYTE, ("rows", "columns", 3))]
    inputs += [tensor(name, HALVES, shape) for name, shape in SIZES.items()]
    numbers = {"step": 1 << HALF, "half": 1 << BITS - 1, "one": 1 << BITS, "least": 0, "most": 255}
    constants = [constant(name, np.array([number], WHOLE)) for name, number in numbers.items()]
    return graph(nodes, inputs, [tensor("fitted", BYTE, ("side", "side", 3))], constants)


def _pass(name: str, source: str, *, weights_first: bool) -> list[bytes]:
    """Multiply by both halves of the weights, and round the sum to whole numbers from 0 to 255."""
    nodes = []
    for half in ("high", "low"):
        weights, product = f"{name}_{half} as float32", f"{name} {half}"
        nodes.append(node("MatMul", (weights, source) if weights_first else (source, weights), product))
        nodes.append(_cast(product, WHOLE))
    steps = (
        ("Mul", f"{name} high as int32", "step"),
        ("Add", f"{name} 0", f"{name} low as int32"),
        ("Add", f"{name} 1", "half"),
        ("Div", f"{name} 2", "one"),  # towards zero, where Pillow goes down: what is below zero becomes zero
        ("Max", f"{name} 3", "least"),
        ("Min", f"{name} 4", "most"),
    )
    for at, (operator, first, second) in enumerate(steps):
        nodes.append(node(operator, (first, second), name if at == len(steps) - 1 else f"{name} {at}"))
    return nodes


def _cast(name: str, dtype: np.dtype[np.generic]) -> bytes:
    return node("Cast", (name,), f"{name} as {dtype.name}", integer("to", ELEMENT_TYPES[dtype.name]))
