"""Rewrite the split of attention's queries, keys and values into the form OpenVINO runs fastest; no value changes.

The engines put all heads first and cut the result in three, [B,T,3H,d] -> [B,3H,T,d] -> three of [B,H,T,d], which ONNX
Runtime does fastest. OpenVINO copies at the cut of a batch; a single picture's parts lie one behind the other already.
With the three in front of the batch they always do, and the cut is none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PARTS = 3
HEADS_FIRST = [0, 2, 1, 3]


def parts_first(model: Any) -> int:
    """Rewrite every split of queries, keys and values in an openvino.Model, in place, and return their number."""
    from openvino import opset13 as ops

    cuts = [cut for cut in model.get_ordered_ops() if _is_cut(cut)]
    for cut in cuts:
        tokens = cut.input_value(0).get_node().input_value(0)
        heads, size = (tokens.get_partial_shape()[axis].get_length() for axis in (2, 3))
        apart = ops.reshape(tokens, np.array([0, 0, PARTS, heads // PARTS, size]), special_zero=True)
        ahead = ops.split(ops.transpose(apart, np.array([2, 0, 3, 1, 4])), np.array(0), PARTS)
        for part, output in enumerate(cut.outputs()):
            output.replace(ops.squeeze(ahead.output(part), np.array([0])).output(0))
    model.validate_nodes_and_infer_types()
    return len(cuts)


def _is_cut(cut: Any) -> bool:
    """Tell whether a node splits [B,3H,T,d] in three between heads, right after the transpose that put heads first."""
    if cut.get_type_name() not in ("Split", "VariadicSplit"):
        return False
    moved = cut.input_value(0).get_node()
    if moved.get_type_name() != "Transpose" or _constant(moved.input_value(1)) != HEADS_FIRST:
        return False
    tokens = moved.input_value(0).get_partial_shape()
    if tokens.rank.is_dynamic:
        return False
    heads, size = tokens[2], tokens[3]
    parts = [output.get_partial_shape()[1] for output in cut.outputs()]
    # A third of the heads each: three parts, and no other axis.
    return (
        heads.is_static
        and size.is_static
        and all(part.is_static and part.get_length() * PARTS == heads.get_length() for part in parts)
    )


def _constant(output: Any) -> Any:
    """Return a constant's values as a list; None for what is computed."""
    node = output.get_node()
    return node.data.tolist() if node.get_type_name() == "Constant" else None
