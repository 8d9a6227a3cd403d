"""Facts for plan.json: layers by element type, of a network or, where the GPU is there, of the plan built from it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import device_memory
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.backends.tensorrt.tensors import read_profiles
from sacvit_deploy.engines.build import Network
from sacvit_deploy.errors import BackendError

# Element types by a part of the inspector's name for a format, such as `Row major linear FP16 format`.
FORMATS = {"half": "half", "fp16": "half", "float": "float", "fp32": "float"} | {
    name: name for name in ("int8", "int64", "int32")
}


def network_facts(network: Network) -> dict[str, Any]:
    """Return the facts of a network, which is strongly typed and so is built in just these types."""
    definition = network.definition
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    outputs = [definition.get_output(index).name for index in range(definition.num_outputs)]
    kinds = [layer.get_output(0).dtype.name.lower() for layer in layers if layer.num_outputs]
    facts = {"read_from": "network", "layers": len(layers), "precisions": dict(Counter(kinds).most_common())}
    return {**facts, "outputs": outputs}


def plan_facts(library: Library, plan: bytes) -> dict[str, Any]:
    """Load a plan, on the GPU it was built for, and return its facts. Raises BackendError."""
    library.clear_errors()
    engine = library.trt.Runtime(library.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{library.title} can't load the plan: {library.last_error()}")
    inspector = engine.create_engine_inspector()
    kinds = layer_types(inspector.get_engine_information(library.trt.LayerInformationFormat.JSON))
    return {
        "read_from": "engine",
        "layers": len(kinds),
        "precisions": dict(Counter(kinds).most_common()),
        "profiles": len(read_profiles(engine)),
        "device_memory": device_memory(engine),
    }


def layer_types(text: str) -> list[str]:
    """Read the element type of each layer's first output from the inspector's JSON; unknown types stay as is."""
    kinds = []
    for layer in json.loads(text).get("Layers", []):
        # A bare name where the plan was built without details.
        output = {} if isinstance(layer, str) else next(iter(layer.get("Outputs") or [{}]))
        written = str(output.get("Format/Datatype") or output.get("Datatype") or "unknown")
        kinds.append(next((name for part, name in FORMATS.items() if part in written.lower()), written))
    return kinds
