"""The configs by Triton's own schema, for each backend; those of ONNX Runtime and TensorRT are not run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.serving.triton.model_config import FILES, Serving, cascade_config, stage_config
from sacvit_deploy.serving.triton.pbtxt import Message, to_pbtxt
from tests.data import record

WHY = "NOT TESTED: configs by Triton's schema, which tritonclient brings; `make test-serving` installs it"
schema: Any = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason=WHY)
text_format: Any = pytest.importorskip("google.protobuf.text_format", reason=WHY)

pytestmark = pytest.mark.serving
CONFIG = open_bundle(record.BEFORE).manifest.config


def parsed(config: Message) -> Any:
    """Parse a config as Triton does. An unknown field, a wrong type or a wrong enum raises."""
    return text_format.Parse(to_pbtxt(config), schema.ModelConfig())


@pytest.mark.parametrize("backend", FILES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("role", ["ee", "sac"])
def test_stages(role: str, precision: str, backend: str) -> None:
    gpu = backend == "tensorrt"
    serving = Serving(backend, 16, 2, 0.0015, gpu=gpu, profile=1 if gpu else None)
    model = parsed(stage_config(role, CONFIG, precision, serving))
    assert (model.name, model.backend, model.max_batch_size) == (role, backend, 16)
    assert (model.instance_group[0].count, list(model.instance_group[0].profile)) == (2, ["1"] if gpu else [])
    assert model.dynamic_batching.max_queue_delay_microseconds == 1500
    half = schema.TYPE_FP16 if precision == "fp16" else schema.TYPE_FP32
    assert model.input[0].data_type == half
    names = {tensor.name for tensor in model.input}
    for warmup in model.model_warmup:
        assert set(warmup.inputs) == names
        assert all(-1 not in tensor.dims and tensor.zero_data for tensor in warmup.inputs.values())
        for tensor in model.input:  # a warm-up's shape is one that the input takes
            assert len(tensor.dims) == len(warmup.inputs[tensor.name].dims)
    assert [warmup.batch_size for warmup in model.model_warmup] == [1, 16]


def test_the_model_that_clients_call(tmp_path: Path) -> None:
    model = parsed(cascade_config(CONFIG, "int8", 0.6, 0.5, Serving("python", 8, 2, 0.001)))
    assert {tensor.name: tensor.optional for tensor in model.input} == {"image": True, "encoded": True}
    assert model.parameters["eta"].string_value == "0.6" and model.parameters["alpha"].string_value == "0.5"
    assert not model.model_warmup
