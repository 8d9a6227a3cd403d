"""How each kind of server is asked for one image over HTTP, and how its answer is read."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

OUTPUTS = ("label", "probability", "stage", "targets")


class Reply(NamedTuple):
    """A server's answer for one image. source: the name that it gives it, None where it only stands in the error."""

    status: int
    source: str | None = None
    label: str | None = None
    probability: float = float("nan")
    stage: int = 0
    targets: list[int] | None = None
    error: str | None = None


class Asked(NamedTuple):
    """An HTTP POST."""

    path: str
    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Wire:
    """A kind of server. ask: an image's name and file to a POST. read: its status and JSON to the reply."""

    ask: Callable[[str, bytes], Asked]
    read: Callable[[int, Any], Reply]


def read_prediction(status: int, answer: Any) -> Reply:
    """Read the JSON of `Prediction.to_dict`, or an error."""
    if "error" in answer:
        return Reply(status, answer.get("source"), error=answer["error"])
    return Reply(status, *(answer[name] for name in ("source", "label", "probability", "stage", "targets")))


def ask_triton(name: str, data: bytes) -> Asked:
    """Ask the model `sacvit` for an image: a JSON head, then the file behind its length."""
    tensor = struct.pack("<I", len(data)) + data
    head = json.dumps(
        {
            "id": name,
            "inputs": [
                {
                    "name": "encoded",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": output, "parameters": {"binary_data": False}} for output in OUTPUTS],
        }
    ).encode()
    return Asked("/v2/models/sacvit/infer", head + tensor, {"Inference-Header-Content-Length": str(len(head))})


def read_triton(status: int, answer: Any) -> Reply:
    """Read Triton's answer for one image."""
    if "error" in answer:
        return Reply(status, error=answer["error"])
    rows = {output["name"]: output["data"] for output in answer["outputs"]}
    (label,), (probability,), (stage,) = (rows[name] for name in OUTPUTS[:3])
    return Reply(status, answer.get("id"), label, probability, stage, rows["targets"] if stage == 2 else None)


SERVE = Wire(lambda name, data: Asked(f"/predict?source={quote(name)}", data, {}), read_prediction)
# Of Ray: all images continue, with nearly all tokens, so that most of the work is stage 2's.
ETA, ALPHA = 1.0, 0.9
STAGE_TWO = Wire(lambda name, data: Asked(f"/?eta={ETA}&alpha={ALPHA}&name={quote(name)}", data, {}), read_prediction)
RAY = Wire(lambda name, data: Asked(f"/?name={quote(name)}", data, {}), read_prediction)
TRITON = Wire(ask_triton, read_triton)
