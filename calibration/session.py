"""An ONNX Runtime session over a model that is in memory."""

from __future__ import annotations

from typing import Any

import onnx

from sacvit_deploy.backends.onnxruntime import load_library


def open_session(model: onnx.ModelProto, threads: int) -> Any:
    """Open it on the CPU, which every calibration uses: what it measures does not depend on the device."""
    library = load_library()
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return library.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
