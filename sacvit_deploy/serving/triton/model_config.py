"""The config.pbtxt of each model: shapes and element types from the contract, batching, instances, warm-up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import Sizes, TensorContract, element_type, engine_contract
from sacvit_deploy.serving.triton.layout import ALPHA, BACKEND, CASCADE, ETA, PRECISION, ROLE, TARGETS, THREADS
from sacvit_deploy.serving.triton.pbtxt import Message, Name, Value, entries

TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "uint8": "TYPE_UINT8", "int64": "TYPE_INT64"}
FILES = {"onnxruntime": "model.onnx", "tensorrt": "model.plan", "python": "model.py"}  # by Triton's backend


@dataclass(frozen=True)
class Serving:
    """How one model is served.

    backend: Triton's, a key of FILES. instances: of the model, each with its own engine or process. delay: seconds that
    a request may wait for others to fill the batch. threads: of an engine's call on the CPU. profile: of a plan.
    queue: requests that may wait; Triton refuses what is beyond. None where only this repository's models call it.
    """

    backend: str
    batch: int
    instances: int
    delay: float
    gpu: bool = False
    threads: int = 1
    profile: int | None = None
    queue: int | None = None


def stage_config(
    role: str,
    config: ModelConfig,
    precision: str,
    serving: Serving,
    optional: Collection[str] = (),
    targets: int | None = None,
) -> Message:
    """Return the config of a stage's model, `ee` or `sac`. The first dimension, the batch, is Triton's own.

    optional: those of the contract's optional outputs that a plan gives: Triton's TensorRT needs every output's buffer,
    its ONNX Runtime also takes configs with fewer. targets: M of the warm-up; None takes the model's.
    """
    contract = engine_contract(role, config)
    outputs = {**contract.outputs, **{name: contract.optional[name] for name in contract.optional if name in optional}}
    sizes = [Sizes(size, *_split(config, targets)) for size in sorted({1, serving.batch})]
    parameters = {PRECISION: precision, ROLE: role, BACKEND: "onnxruntime", THREADS: str(serving.threads)}
    if serving.backend != "python":
        parameters = {} if serving.gpu else {"intra_op_thread_count": str(serving.threads)}
    return {
        **_head(role, serving),
        "input": [_tensor(name, tensor, precision) for name, tensor in contract.inputs.items()],
        "output": [_tensor(name, tensor, precision) for name, tensor in outputs.items()],
        **_batching(serving),
        "model_warmup": [_warmup(contract.inputs, precision, each) for each in sizes],
        "parameters": _parameters(parameters),
    }


def cascade_config(
    config: ModelConfig,
    precision: str,
    eta: float,
    alpha: float,
    serving: Serving,
    targets: tuple[int, int] | None = None,
    bounds: Mapping[str, int] | None = None,
) -> Message:
    """Return the config of the model that clients call.

    eta, alpha: for requests that name none. targets: the least and the most M of plans; None where any M will do.
    bounds: MAX_PIXELS and MAX_MEMORY, those that are not the defaults.
    The model has no warm-up: that would call the stages, which Triton may load after it. They warm up themselves.
    """
    side, classes = config.geometry.image_size, config.geometry.classes
    limits = {name: str(value) for name, value in (bounds or {}).items()}
    if targets is not None:
        limits[TARGETS] = f"{targets[0]} {targets[1]}"

    def tensor(name: str, kind: str, *dims: int, **more: Value) -> Message:
        return {"name": name, "data_type": Name(kind), "dims": list(dims), **more}

    return {
        **_head(CASCADE, serving),
        "input": [
            tensor("image", "TYPE_UINT8", side, side, 3, optional=True),
            tensor("encoded", "TYPE_STRING", 1, optional=True),
        ],
        "output": [
            tensor("label", "TYPE_STRING", 1),
            tensor("index", "TYPE_INT32", 1),
            tensor("probability", "TYPE_FP32", 1),
            tensor("stage", "TYPE_INT32", 1),
            tensor("stage_one_probability", "TYPE_FP64", 1),
            tensor("probabilities", "TYPE_FP32", classes),
            tensor("targets", "TYPE_INT32", -1),
            tensor("error", "TYPE_STRING", 1),
        ],
        **_batching(serving),
        "parameters": _parameters({PRECISION: precision, ETA: repr(eta), ALPHA: repr(alpha), **limits}),
    }


def _head(name: str, serving: Serving) -> dict[str, Value]:
    return {
        "name": name,
        "backend": serving.backend,
        "max_batch_size": serving.batch,
        "default_model_filename": FILES[serving.backend],
    }


def _batching(serving: Serving) -> dict[str, Value]:
    profile: dict[str, Value] = {} if serving.profile is None else {"profile": [str(serving.profile)]}
    kind = Name("KIND_GPU" if serving.gpu else "KIND_CPU")
    queue: dict[str, Value] = {}
    if serving.queue is not None:
        queue["default_queue_policy"] = {"max_queue_size": serving.queue}
    return {
        "instance_group": [{"count": serving.instances, "kind": kind, **profile}],
        "dynamic_batching": {"max_queue_delay_microseconds": round(1e6 * serving.delay), **queue},
    }


def _split(config: ModelConfig, targets: int | None) -> tuple[int, int]:
    """Return M, the model's own where None, and N - M."""
    count = config.num_targets() if targets is None else targets
    return count, config.geometry.tokens - count


def _tensor(name: str, tensor: TensorContract, precision: str) -> Message:
    dims = [size if isinstance(size, int) else -1 for size in tensor.shape[1:]]
    return {"name": name, "data_type": Name(TYPES[element_type(tensor.dtype, precision)]), "dims": list(dims)}


def _warmup(inputs: Mapping[str, TensorContract], precision: str, sizes: Sizes) -> Message:
    """Return a call with zeros."""
    values: dict[str, Value] = {
        name: {
            "data_type": Name(TYPES[element_type(tensor.dtype, precision)]),
            "dims": list(tensor.at(sizes)[1:]),
            "zero_data": True,
        }
        for name, tensor in inputs.items()
    }
    return {"name": f"zeros, batch {sizes.batch}", "batch_size": sizes.batch, "inputs": entries(values)}


def _parameters(values: Mapping[str, str]) -> list[Message]:
    return entries({key: {"string_value": value} for key, value in values.items()})
