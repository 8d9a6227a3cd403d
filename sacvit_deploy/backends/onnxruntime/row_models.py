"""ONNX models that move rows of tensors.

A model has a node for each tensor, whose shape stays open, so that one call moves what belongs together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sacvit_deploy.backends.onnxruntime.onnx_bytes import graph, integer, node, tensor

Types = Mapping[str, np.dtype[Any]]


def rows_model(dtypes: Types) -> bytes:
    """Take rows: for each name, `NAME out` is the rows `indices` [K] int64 of NAME."""
    nodes = [node("Gather", (name, "indices"), f"{name} out") for name in dtypes]
    inputs = [*(tensor(name, dtype) for name, dtype in dtypes.items()), tensor("indices", np.dtype(np.int64))]
    return _model(nodes, inputs, dtypes)


def join_model(dtypes: Types) -> bytes:
    """Join rows: for each name, `NAME out` is the rows of `NAME 0` and behind them those of `NAME 1`."""
    nodes = [node("Concat", (f"{name} 0", f"{name} 1"), f"{name} out", integer("axis", 0)) for name in dtypes]
    inputs = [tensor(f"{name} {end}", dtype) for name, dtype in dtypes.items() for end in range(2)]
    return _model(nodes, inputs, dtypes)


def add_model() -> bytes:
    """Add a tensor to itself, `x` [1] fp32 to `y` [1]: the least that a provider can be tried with."""
    x, y = (tensor(name, np.dtype(np.float32), (1,)) for name in ("x", "y"))
    return graph([node("Add", ("x", "x"), "y")], [x], [y])


def _model(nodes: list[bytes], inputs: list[bytes], dtypes: Types) -> bytes:
    return graph(nodes, inputs, [tensor(f"{name} out", dtype) for name, dtype in dtypes.items()])
