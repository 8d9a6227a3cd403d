"""Kinds of tensors in people's files: those that can be computed with, and a sentence for each other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sacvit_deploy.errors import CheckpointError

# Eight bits that hold a number of their own; the shared exponents and packed pairs of other types need a scale.
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz)
WHOLE = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def oddity(tensor: Tensor) -> str | None:
    """Return what keeps a tensor from being computed with as it is, and the way out; None for a floating-point one."""
    if tensor.is_nested:
        return "is a nested tensor, rows of several lengths, and no weight of a layer; save it with `.to_padded_tensor`"
    if tensor.is_meta:
        return "has a shape but no data (a meta tensor); save the model after loading it"
    if tensor.is_quantized:
        return "is quantised; give the checkpoint as trained, for --int8 quantises it anew"
    if tensor.layout != torch.strided:
        return "is sparse; save it with `.to_dense()`"
    if tensor.is_complex():
        return f"holds {tensor.dtype}, complex numbers, not floating-point weights; save its real part if that is all"
    if tensor.dtype not in (*WHOLE, *FLOAT8):
        return f"holds {tensor.dtype}, not floating-point weights; give the checkpoint as trained"
    return None


def dense(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights in fp32. Raises CheckpointError for what can't be computed with, by its name."""
    for name, value in weights.items():
        if (reason := oddity(value)) is not None:
            raise CheckpointError(f"`{name}` {reason}")
    return {name: value.float() for name, value in weights.items()}


def narrow_notes(weights: Mapping[str, Tensor]) -> list[str]:
    """Return a note on weights of eight bits, which were rounded after training unless the training did it."""
    narrow = [name for name, value in weights.items() if value.dtype in FLOAT8]
    if not narrow:
        return []
    more = f" and {len(narrow) - 1} more" * (len(narrow) > 1)
    kind = str(weights[narrow[0]].dtype).removeprefix("torch.")
    return [f"`{narrow[0]}`{more} are {kind}: taken as the numbers they hold, without a scale, as the file has none"]
