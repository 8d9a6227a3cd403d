"""The configs by Triton's own schema, against the engines; the backends ONNX Runtime and TensorRT are not run here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.errors import ImageError
from sacvit_deploy.serving.triton.cascade_model import output_tensors
from sacvit_deploy.serving.triton.cli_triton import command
from sacvit_deploy.serving.triton.model_config import FILES, Serving, cascade_config, stage_config
from sacvit_deploy.serving.triton.pbtxt import Message, to_pbtxt
from tests.data import record

WHY = "NOT TESTED: configs by Triton's schema, which tritonclient brings; `make test-serving` installs it"
schema: Any = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason=WHY)
text_format: Any = pytest.importorskip("google.protobuf.text_format", reason=WHY)

pytestmark = pytest.mark.serving
CONFIG = open_bundle(record.BEFORE).manifest.config
DTYPES: dict[str, Any] = {"FP32": np.float32, "FP16": np.float16, "INT64": np.int64, "FP64": np.float64}
DTYPES |= {"INT32": np.int32, "STRING": np.object_}
ONNX = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


def parsed(config: Message | str) -> Any:
    """Parse a config as Triton does. An unknown field, a wrong type or a wrong enum raises."""
    return text_format.Parse(config if isinstance(config, str) else to_pbtxt(config), schema.ModelConfig())


def dtype(tensor: Any) -> Any:
    """Return NumPy's name of a tensor's type."""
    return np.dtype(DTYPES[schema.DataType.Name(tensor.data_type).removeprefix("TYPE_")])


def fits(shape: tuple[int, ...], dims: Any) -> bool:
    """Tell whether a shape, with the batch, is one that dims allow."""
    return len(shape) == len(dims) + 1 and all(dim in (size, -1) for size, dim in zip(shape[1:], dims, strict=True))


@pytest.mark.parametrize("backend", FILES)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("role", ["ee", "sac"])
def test_stages(role: str, precision: str, backend: str) -> None:
    gpu = backend == "tensorrt"
    serving = Serving(backend, 16, 2, 0.0015, gpu=gpu, profile=1 if gpu else None)
    model = parsed(stage_config(role, CONFIG, precision, serving))
    assert (model.name, model.backend, model.max_batch_size) == (role, backend, 16)
    assert (model.instance_group[0].count, list(model.instance_group[0].profile)) == (2, ["1"] if gpu else [])
    batching = model.dynamic_batching
    # The engines take every size: none is preferred, so that a batch is as large as what waits.
    assert batching.max_queue_delay_microseconds == 1500 and not list(batching.preferred_batch_size)
    assert not batching.HasField("default_queue_policy")  # only `sacvit` calls them, one batch for each instance
    assert dtype(model.input[0]) == np.dtype("float16" if precision == "fp16" else "float32")
    assert [warmup.batch_size for warmup in model.model_warmup] == [1, 16]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engines_take_and_give_what_their_configs_say(precision: str, tmp_path: Path) -> None:
    """Names, types and dimensions, and the warm-ups run, at another alpha than the model's."""
    options = ["--precision", precision, "--alpha", "0.3", "--batch", "5"]
    done = CliRunner().invoke(command, [str(record.BEFORE), "--out", str(tmp_path / "m"), *options])
    assert done.exit_code == 0, done.output
    for role in ("ee", "sac"):
        model = parsed((tmp_path / "m" / role / "config.pbtxt").read_text())
        path = tmp_path / "m" / role / "1" / model.default_model_filename
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for told, given in ((model.input, session.get_inputs()), (model.output, session.get_outputs())):
            assert {each.name: dtype(each) for each in told} == {each.name: np.dtype(ONNX[each.type]) for each in given}
            dims = {each.name: [size if isinstance(size, int) else -1 for size in each.shape[1:]] for each in given}
            assert {each.name: list(each.dims) for each in told} == dims
        for warmup in model.model_warmup:
            zeros = {}
            for each in model.input:
                value = warmup.inputs[each.name]
                assert value.zero_data and dtype(value) == dtype(each)
                zeros[each.name] = np.zeros((warmup.batch_size, *value.dims), dtype(value))
                assert fits(zeros[each.name].shape, each.dims)
            outputs = session.run([each.name for each in model.output], zeros)
            for each, output in zip(model.output, outputs, strict=True):
                assert output.dtype == dtype(each) and fits((warmup.batch_size, *output.shape[1:]), each.dims)
                assert len(output) == warmup.batch_size
        if role == "sac":
            assert warmup.inputs["target_features"].dims[0] == CONFIG.num_targets(0.3)


def test_outputs_that_an_engine_may_have() -> None:
    serving = Serving("tensorrt", 8, 1, 0.0, gpu=True)
    for role in ("ee", "sac"):
        model = parsed(stage_config(role, CONFIG, "fp16", serving, ["logits", "confidence"]))
        (confidence,) = [output for output in model.output if output.name == "confidence"]
        assert (dtype(confidence), list(confidence.dims)) == (np.float32, [2])
        assert len({output.name for output in model.output}) == len(model.output)


def test_the_model_that_clients_call() -> None:
    bounds = {"max_pixels": 10, "max_memory": 20}
    model = parsed(cascade_config(CONFIG, "int8", 0.6, 0.5, Serving("python", 8, 2, 0.001, queue=7), bounds=bounds))
    assert {tensor.name: tensor.optional for tensor in model.input} == {"image": True, "encoded": True}
    told = {"eta": "0.6", "alpha": "0.5", "max_pixels": "10", "max_memory": "20", "precision": "int8"}
    assert {name: parameter.string_value for name, parameter in model.parameters.items()} == told
    assert model.dynamic_batching.default_queue_policy.max_queue_size == 7 and not model.model_warmup
    rows = output_tensors([ImageError("bad")] * 2, 4, CONFIG.geometry.classes)
    assert {output.name: dtype(output) for output in model.output} == {name: row.dtype for name, row in rows.items()}
    assert all(fits(rows[output.name].shape, output.dims) for output in model.output)
