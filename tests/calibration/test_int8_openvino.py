"""The int8 variant on OpenVINO: computed in eight bits, and as near to fp32 as on ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs
from sacvit_deploy.calibration.linears import linears

from .conftest import Calibrated
from .making import ROLES


@pytest.mark.parametrize("role", ROLES)
def test_quantised_layers_compute_in_eight_bits(
    calibrated: Calibrated, calibration: CalibrationInputs, role: str
) -> None:
    path = open_bundle(calibrated.bundle).checked_files("int8")[role]
    engine = open_backend("openvino").open(path, None)
    engine.run(next(calibration.batches(role)))
    compiled = engine._request.get_compiled_model().get_runtime_model()  # type: ignore[attr-defined]
    facts = [op.get_rt_info() for op in compiled.get_ops()]
    computed = [fact["runtimePrecision"].astype(str) for fact in facts if "Fully" in fact["layerType"].astype(str)]
    graph = onnx.load(path, load_external_data=False)
    dequantised = {node.output[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    eight = [node for node in graph.graph.node if node.op_type in ("MatMul", "Gemm") and node.input[1] in dequantised]
    assert len(eight) >= 8
    assert sum(precision in ("i8", "u8") for precision in computed) == len(eight)
    assert len(computed) == len(eight) + len(linears(graph))  # the others are what calibration kept in fp32


@pytest.mark.parametrize("role", ROLES)
def test_as_near_to_fp32_as_on_onnx_runtime(calibrated: Calibrated, calibration: CalibrationInputs, role: str) -> None:
    bundle = open_bundle(calibrated.bundle)

    def logits(backend: str, precision: str) -> Array:
        engine = open_backend(backend).open(bundle.checked_files(precision)[role], None)
        return np.concatenate([engine.run(feed)["logits"] for feed in calibration.batches(role)])

    wanted = logits("onnxruntime", "fp32")
    errors = {name: np.abs(logits(name, "int8") - wanted).mean() for name in ("openvino", "onnxruntime")}
    assert 0 < errors["openvino"] < 1.25 * errors["onnxruntime"], errors


@pytest.mark.parametrize("role", ROLES)
def test_a_image_gets_the_same_answer_in_every_batch(
    calibrated: Calibrated, calibration: CalibrationInputs, role: str
) -> None:
    engine = open_backend("openvino").open(open_bundle(calibrated.bundle).checked_files("int8")[role], None)
    feed = next(calibration.batches(role))
    together = engine.run(feed)["logits"]
    apart = [engine.run({name: array[row : row + 1] for name, array in feed.items()})["logits"] for row in range(4)]
    np.testing.assert_allclose(np.concatenate(apart), together[:4], atol=1e-4 * np.abs(together).max())
