"""The plain DeiT's preprocessing as an engine, so that on a device it, too, is given nothing but images.

A bundle does not carry it, as no product needs it: it is written here, in the arithmetic of the bundle's own `view`
(`ViewStage` in `export/glue.py`).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.backends.tensorrt.backend import TensorRTBackend
from sacvit_deploy.backends.tensorrt.library import load_library
from sacvit_deploy.bundle.held import Held, hold
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.engines.build import BuildOptions, build_plan
from sacvit_deploy.engines.profiles import SizeRange, batch_ranges, input_ranges
from sacvit_deploy.images.preprocess import scale_and_shift

FLOAT, BYTE = np.dtype(np.float32), np.dtype(np.uint8)


def whole_view(config: ModelConfig, dtype: np.dtype[Any]) -> bytes:
    """Return an ONNX model: pictures [B,S,S,3] uint8 -> image [B,3,S,S] of `dtype`, normalised in fp32."""
    side = config.geometry.image_size
    scale, shift = (values.reshape(3, 1, 1) for values in scale_and_shift(config.preprocessing))
    nodes = [
        node("Cast", ["pictures"], "values", integer("to", ELEMENT_TYPES["float32"])),
        node("Transpose", ["values"], "planes", integers("perm", (0, 3, 1, 2))),
        node("Mul", ["planes", "scale"], "scaled"),
        node("Add", ["scaled", "shift"], "shifted"),
        node("Cast", ["shifted"], "image", integer("to", ELEMENT_TYPES[dtype.name])),
    ]
    pictures = tensor("pictures", BYTE, ("batch", side, side, 3))
    image = tensor("image", dtype, ("batch", 3, side, side))
    return graph(nodes, [pictures], [image], [constant("scale", scale), constant("shift", shift)])


def whole_view_for(backend: Backend, config: ModelConfig, dtype: np.dtype[Any], batch: int) -> Held:
    """Return that engine as a backend's device opens it: for TensorRT a plan for up to `batch` images.

    Raises BackendError.
    """
    model, name = whole_view(config, dtype), Path(f"whole.{dtype.name}.onnx")
    if not isinstance(backend, TensorRTBackend):
        return Held(name, np.frombuffer(model, np.uint8))
    with TemporaryDirectory(prefix="sacvit-view-") as folder:
        source, target = Path(folder) / name, Path(folder) / "whole.plan"
        source.write_bytes(model)
        ranges = [input_ranges("view", config, sizes) for sizes in batch_ranges(SizeRange(1, batch, batch))]
        target.write_bytes(build_plan(load_library(backend.here.runtime), source, ranges, BuildOptions()))
        return hold(target)
