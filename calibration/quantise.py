"""Quantises an fp32 engine: explicit int8 Q/DQ pairs around its linear layers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import numpy as np
import onnx

from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.calibration.linears import LINEAR, linears
from sacvit_deploy.errors import OutputError


def quantise(model: onnx.ModelProto, ranges: Mapping[str, float], keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return the int8 engine; `keep` names layers that stay in fp32.

    ranges: by layer, the largest absolute input to represent. Symmetric int8 with zero point 0, a scale for each column
    of a weight, biases in fp32; attention products, LayerNorm, softmax and GELU stay as they are. TensorRT and ONNX
    Runtime both read this form. Raises OutputError for a range that is not a positive number.
    """
    load_library()  # its telemetry off before it is imported
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    chosen = [linear for linear in linears(model) if linear.layer not in keep]
    limits = {}
    for linear in chosen:
        top = ranges[linear.layer]
        if not (np.isfinite(top) and top > 0):
            raise OutputError(f"layer {linear.layer} has the range {top}, which int8 can't represent")
        limits[linear.input] = TensorData(lowest=np.float32(-top), highest=np.float32(top))
    engine = copy.deepcopy(model)
    if not chosen:
        return engine
    quantiser = QDQQuantizer(
        engine,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=[linear.node for linear in chosen],
        nodes_to_exclude=[],
        op_types_to_quantize=list(LINEAR),
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "MatMulConstBOnly": True,
            "QuantizeBias": False,
            # A quantised output would be rounded a second time, before the bias and the residual are added.
            "OpTypesToExcludeOutputQuantization": list(LINEAR),
        },
    )
    quantiser.quantize_model()
    quantised: onnx.ModelProto = quantiser.model.model
    quantised.producer_name, quantised.producer_version = model.producer_name, model.producer_version
    del quantised.metadata_props[:]
    return quantised
