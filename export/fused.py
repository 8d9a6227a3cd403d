"""ONNX Runtime's fused operators as torch traces them; torch itself can't compute them.

Each becomes one node of the domain `com.microsoft`, and on a GPU one kernel or a few. ONNX Runtime has them on CUDA in
fp32 and fp16 and on the CPU in fp32; no other library knows them.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
import torch
from torch import Tensor, nn

DOMAIN = "com.microsoft"


def attention(x: Tensor, weight: Tensor, bias: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """Project tokens [B,T,D] by weight [D,3D] and bias [3D] and attend among all of them; returns values [B,T,D].

    mask: what is added to the logits, [1,H,T,T].
    """
    return _one("Attention", [x, weight, bias, *([] if mask is None else [None, None, mask])], x, num_heads=heads)


def multi_head_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, heads: int) -> Tensor:
    """Add the bias [3D] to queries [B,Q,D], keys and values [B,K,D], and attend; returns values [B,Q,D]."""
    return _one("MultiHeadAttention", [q, k, v, bias], q, num_heads=heads)


def add_and_normalise(x: Tensor, update: Tensor, bias: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """Add an update [B,T,D] and its bias [D] to the residual stream [B,T,D]; returns it normalised, and itself."""
    weights = (norm.weight.to(x.dtype), norm.bias.to(x.dtype), bias.to(x.dtype))
    outputs = torch.onnx.ops.symbolic_multi_out(
        f"{DOMAIN}::SkipLayerNormalization",
        [x, update, *weights],
        {"epsilon": norm.eps},
        # The two in the middle, mean and deviation, are for training alone.
        dtypes=[x.dtype, torch.float32, torch.float32, x.dtype],
        shapes=[x.shape, (1,), (1,), x.shape],
        version=1,
    )
    return outputs[0], outputs[3]


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """Add a bias [X] to features [...,X] and apply the exact GELU."""
    return _one("BiasGelu", [x, bias.to(x.dtype)], x)


def multiply(left: Tensor, right: Tensor, shape: Sequence[int | torch.SymInt]) -> Tensor:
    """Multiply matrices with broadcasting, as ONNX's MatMul does in one node where torch would expand one of them."""
    out: Tensor = torch.onnx.ops.symbolic("MatMul", [left, right], dtype=right.dtype, shape=shape, version=13)
    return out


def drop_unread_outputs(model: ir.Model) -> None:
    """Leave out the outputs of fused operators that nobody reads, so that they are not computed."""
    for node in model.graph:
        if node.domain == DOMAIN:
            for value in node.outputs:
                if not value.uses() and not value.is_graph_output():
                    value.name = ""


def _one(kind: str, inputs: Sequence[Tensor | None], like: Tensor, **attributes: int) -> Tensor:
    """Emit a node with one output, of the shape and type of `like`."""
    out: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{kind}", inputs, {**attributes}, dtype=like.dtype, shape=like.shape, version=1
    )
    return out
