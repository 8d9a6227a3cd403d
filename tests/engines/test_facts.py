"""The inspector's JSON, as TensorRT documents it; none was read from a GPU here."""

from __future__ import annotations

import json

from sacvit_deploy.engines.facts import layer_types

TEXT = {
    "Layers": [
        {"Name": "patches", "Outputs": [{"Name": "a", "Format/Datatype": "Row major linear FP16 format"}]},
        {"Name": "head", "Outputs": [{"Name": "logits", "Format/Datatype": "Row major linear FP32"}]},
        {"Name": "q", "Outputs": [{"Name": "b", "Datatype": "Int8"}]},
        {"Name": "shape", "Outputs": []},
        "only a name",
    ],
    "Bindings": ["patches", "logits"],
}


def test_layers_and_their_types() -> None:
    assert layer_types(json.dumps(TEXT)) == ["half", "float", "int8", "unknown", "unknown"]
