"""The open inference protocol (KServe v2): metadata, and `infer` with tensors as JSON or as bytes behind it."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy import __version__
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.serving.refusal import Refusal
from sacvit_deploy.typed import items, mapping, parse_json, text, whole

IMAGE, PICTURES = "image", "pictures"  # a file's bytes each; pixels [B,H,W,3]
OUTPUTS = ("label", "index", "probability", "stage", "stage_one_probability", "targets", "error")
MOST_TENSORS = 8


@dataclass(frozen=True)
class InferRequest:
    """An `infer` request: images, as files' bytes or arrays [H,W,3] uint8; parameters; outputs asked for; its id."""

    sources: Sequence[Any]
    parameters: dict[str, Any]
    outputs: Sequence[str]
    id: str


def server_metadata() -> dict[str, Any]:
    """Return what `GET /v2` says."""
    return {"name": "sacvit", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_metadata(name: str) -> dict[str, Any]:
    """Return what `GET /v2/models/NAME` says. -1: any size."""
    types = {"label": "BYTES", "index": "INT64", "probability": "FP32", "stage": "INT64"}
    types |= {"stage_one_probability": "FP32", "targets": "INT64", "error": "BYTES"}
    return {
        "name": name,
        "versions": ["1"],
        "platform": "sacvit",
        "inputs": [
            {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
            {"name": PICTURES, "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
        ],
        "outputs": [
            {"name": output, "datatype": types[output], "shape": [-1, -1] if output == "targets" else [-1]}
            for output in OUTPUTS
        ],
    }


def read_infer(body: bytes, header_length: str | None, most: int) -> InferRequest:
    """Read the body of an `infer` request, of one input with up to `most` images. Raises Refusal.

    header_length: `Inference-Header-Content-Length`, the bytes of JSON before the binary tensors.
    """
    try:
        size = len(body)
        if header_length is not None:
            if not header_length.isdecimal() or len(header_length) > 12 or int(header_length) > len(body):
                raise UsageError(f"Inference-Header-Content-Length is {header_length[:40]!r} of {len(body)} bytes")
            size = int(header_length)
        data = mapping(parse_json(body[:size]), "the request")
        inputs = items(data.get("inputs"), "inputs", mapping, MOST_TENSORS)
        if len(inputs) != 1:
            raise UsageError(f"inputs has {len(inputs)} tensors; give one, {IMAGE!r} or {PICTURES!r}")
        outputs = items(data.get("outputs", []), "outputs", _output_name, MOST_TENSORS)
        parameters = mapping(data.get("parameters", {}), "parameters")
        sources = _images(inputs[0], body[size:], most)
        return InferRequest(sources, parameters, outputs or OUTPUTS, text(data.get("id", ""), "id", 256))
    except (UsageError, ValueError) as error:
        raise Refusal(400, f"the infer request can't be read: {error}") from error


def _output_name(value: Any, where: str) -> str:
    name = text(mapping(value, where).get("name"), f"{where}.name", 64)
    if name not in OUTPUTS:
        raise UsageError(f"{where}.name is {name!r}; there are: {', '.join(OUTPUTS)}")
    return name


def _images(tensor: dict[str, Any], behind: bytes, most: int) -> Sequence[Any]:
    """Return the images of an input tensor. behind: the bytes after the JSON."""
    name, datatype = (text(tensor.get(key), f"inputs[0].{key}", 64) for key in ("name", "datatype"))
    shape = items(tensor.get("shape"), "inputs[0].shape", whole, 4)
    size = mapping(tensor.get("parameters", {}), "inputs[0].parameters").get("binary_data_size")
    binary = None
    if size is not None:
        if whole(size, "binary_data_size") != len(behind):
            raise UsageError(f"binary_data_size is {size}, and {len(behind)} bytes stand behind the JSON")
        binary = behind
    if not shape or shape[0] > most:
        raise Refusal(413, f"a request can have {most} images; send the others in another one")
    if (name, datatype) == (IMAGE, "BYTES") and len(shape) == 1:
        files = _lengths_and_bytes(binary) if binary is not None else _base64s(tensor.get("data"))
        if len(files) != shape[0]:
            raise UsageError(f"inputs[0].shape is {list(shape)}, and {len(files)} images came")
        return files
    if (name, datatype) == (PICTURES, "UINT8") and len(shape) == 4 and shape[3] == 3:
        count = math.prod(shape)
        if binary is None:
            values = tensor.get("data")
            if not isinstance(values, list) or len(values) != count:
                raise UsageError(f"inputs[0].data must be a flat list of {count:,} numbers, as its shape says")
            binary = _bytes(values)
        if len(binary) != count:
            raise UsageError(f"inputs[0].shape asks for {count:,} bytes, and {len(binary):,} came")
        return list(np.frombuffer(binary, np.uint8).reshape(shape))
    raise UsageError(
        f"inputs[0] is {name!r}, {datatype} {list(shape)}; give {IMAGE!r}, BYTES [B], of image files (base64 in "
        f"JSON), or {PICTURES!r}, UINT8 [B,H,W,3]"
    )


def _bytes(values: list[Any]) -> bytes:
    try:
        return bytes(values)
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError("inputs[0].data must hold whole numbers from 0 to 255") from error


def _base64s(data: Any) -> list[bytes]:
    def decoded(value: Any, where: str) -> bytes:
        return base64.b64decode(text(value, where, 1 << 30), validate=True)

    try:
        return list(items(data, "inputs[0].data", decoded))
    except binascii.Error as error:
        raise UsageError(f"inputs[0].data is no base64 ({error})") from error


def _lengths_and_bytes(data: bytes) -> list[bytes]:
    """Take BYTES elements apart: each has its length before it, uint32, little-endian."""
    found, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at) if at + 4 <= len(data) else (len(data),)
        if at + 4 + size > len(data):
            raise UsageError("inputs[0]: a length in the binary tensor goes beyond its end")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def infer_response(name: str, request: InferRequest, results: Sequence[Prediction | SacvitError]) -> dict[str, Any]:
    """Return the answer to an `infer` request: a row for each image, and its error, empty where there is none.

    A row with an error has no label, the numbers -1 and the probabilities 0; targets are -1 where stage 2 had none.
    """
    count = max((len(r.targets) for r in results if isinstance(r, Prediction) and r.targets is not None), default=0)
    rows = [_row(result, count) for result in results]
    types = {output["name"]: output["datatype"] for output in model_metadata(name)["outputs"]}
    outputs = []
    for output in request.outputs:
        values = [row[output] for row in rows]
        shape = [len(rows), count] if output == "targets" else [len(rows)]
        flat = [value for row in values for value in row] if output == "targets" else values
        outputs.append({"name": output, "datatype": types[output], "shape": shape, "data": flat})
    return {"model_name": name, "model_version": "1", **({"id": request.id} if request.id else {}), "outputs": outputs}


def _row(result: Prediction | SacvitError, count: int) -> dict[str, Any]:
    if isinstance(result, SacvitError):
        empty = {"label": "", "index": -1, "probability": 0.0, "stage": -1, "stage_one_probability": 0.0}
        return {**empty, "targets": [-1] * count, "error": str(result)}
    targets = [-1] * count if result.targets is None else result.targets.tolist()
    return {
        "label": result.label,
        "index": result.index,
        "probability": result.probability,
        "stage": result.stage,
        "stage_one_probability": result.stage_one_probability,
        "targets": targets,
        "error": "",
    }
