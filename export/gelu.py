"""The order of GELU's factors, which decides whether a runtime knows it as one operator.

torch writes x * (0.5 * (1 + erf(x / sqrt 2))). ONNX Runtime's pattern is (x * 0.5) * (1 + erf(x / sqrt 2)): then it
computes GELU, and the bias before it, in one pass over the widest activations of the network.
"""

from __future__ import annotations

import onnx_ir as ir


def reorder_gelus(model: ir.Model) -> int:
    """Bring every GELU that torch wrote into the order that runtimes fuse; returns how many.

    Only the operands of the two products change places: the operators stay standard ones. The other order that fuses,
    (x * (1 + erf)) * 0.5, is 2x before it is x, which in half precision overflows for half of the range. The answers
    are the same to the bit, as a factor of 0.5 rounds nothing (but for subnormal numbers).
    """
    return sum(_reorder(node) for node in model.graph if node.op_type == "Erf")


def _reorder(erf: ir.Node) -> bool:
    """Reorder the GELU around one Erf; False, and nothing changed, where it is not torch's."""
    scaled = erf.inputs[0].producer() if erf.inputs[0] is not None else None
    add = _only_user(erf, "Add")
    half = _only_user(add, "Mul")
    product = _only_user(half, "Mul")
    if scaled is None or scaled.op_type != "Div" or add is None or half is None or product is None:
        return False
    x, sum_ = scaled.inputs[0], add.outputs[0]
    if x is None or not _is_half(_other(half, sum_)) or _other(product, half.outputs[0]) is not x:
        return False
    half.replace_input_with(half.inputs.index(sum_), x)
    product.replace_input_with(product.inputs.index(x), sum_)
    return True


def _only_user(node: ir.Node | None, kind: str) -> ir.Node | None:
    """The one node that reads this node's output, if it is of that kind and nothing else reads it."""
    if node is None:
        return None
    users = node.outputs[0].uses()
    if len(users) != 1 or node.outputs[0].is_graph_output():
        return None
    user = next(iter(users)).node
    return user if user.op_type == kind else None


def _other(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """The other of a product's two factors."""
    return node.inputs[1] if node.inputs[0] is value else node.inputs[0]


def _is_half(value: ir.Value | None) -> bool:
    """Whether a value is the constant 0.5."""
    tensor = None if value is None else value.const_value
    return tensor is not None and tensor.size == 1 and float(tensor.numpy().reshape(())) == 0.5
