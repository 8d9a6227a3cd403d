"""Writing engines whose tensors lie in one weights file, each stored once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import onnx_ir as ir

from sacvit_deploy.errors import ExportError

INLINE_LIMIT = 1024  # bytes; smaller tensors stay in the graph, where tools show them
PAGE = 4096  # a tensor that begins on a page can be mapped alone
LINE = 64  # alignment of small tensors, for vector loads


def write_engines(folder: Path, models: dict[str, ir.Model], precision: str) -> dict[str, Path]:
    """Write ROLE.PRECISION.onnx for each model and the weights file they point into; return paths by role.

    Raises ExportError if the ONNX checker refuses a file.
    """
    weights = folder / f"weights.{precision}.bin"
    stored: dict[str, tuple[int, int]] = {}
    with weights.open("wb") as file:
        for model in models.values():
            for value in list(model.graph.initializers.values()):
                tensor = value.const_value
                if tensor is None or tensor.nbytes < INLINE_LIMIT:
                    continue
                data = tensor.tobytes()
                digest = hashlib.sha256(data).hexdigest()
                if digest not in stored:
                    step = PAGE if len(data) >= PAGE else LINE
                    file.write(b"\0" * (-file.tell() % step))
                    stored[digest] = (file.tell(), len(data))
                    file.write(data)
                offset, length = stored[digest]
                value.const_value = ir.ExternalTensor(
                    weights.name,
                    offset,
                    length,
                    tensor.dtype,
                    shape=ir.Shape([int(dim) for dim in tensor.numpy().shape]),
                    name=value.name or "",
                    base_dir=folder,
                )
    paths = {"weights": weights}
    for role, model in models.items():
        paths[role] = write_graph(folder / f"{role}.{precision}.onnx", model)
    return paths


def write_graph(path: Path, model: ir.Model) -> Path:
    """Write one ONNX file and return its path. Raises ExportError if the ONNX checker refuses it."""
    path.write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the ONNX checker refuses {path.name}: {error}") from error
    return path
