"""Facts about a built plan, read back from the library: layers, precisions, profiles, memory."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import device_memory
from sacvit_deploy.backends.tensorrt.device import read_profiles
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.errors import BackendError

# Element types by a part of the inspector's name for a format, such as `Row major linear FP16 format`.
FORMATS = {"half": "half", "fp16": "half", "float": "float", "fp32": "float"} | {
    name: name for name in ("int8", "int64", "int32")
}


def load_plan(library: Library, plan: bytes) -> Any:
    """Deserialise a plan, on the GPU it was built for. Raises BackendError."""
    library.clear_errors()
    engine = library.trt.Runtime(library.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{library.title} can't load the plan: {library.last_error()}")
    return engine


def engine_facts(library: Library, engine: Any) -> dict[str, Any]:
    """Return the facts of a deserialised engine for plan.json; needs the GPU that it was built for."""
    inspector = engine.create_engine_inspector()
    layers = parse_layers(inspector.get_engine_information(library.trt.LayerInformationFormat.JSON))
    return {
        "read_from": "engine",
        "layers": len(layers),
        "precisions": dict(Counter(kind for _, kind in layers).most_common()),
        "profiles": len(read_profiles(engine)),
        "device_memory": device_memory(engine),
    }


def parse_layers(text: str) -> list[tuple[str, str]]:
    """Read (name, element type of the first output) per layer from the inspector's JSON; unknown types stay as is."""
    layers = []
    for layer in json.loads(text).get("Layers", []):
        if isinstance(layer, str):  # a bare name, where the plan was built without details
            layers.append((layer, "unknown"))
            continue
        outputs = layer.get("Outputs") or [{}]
        written = str(outputs[0].get("Format/Datatype") or outputs[0].get("Datatype") or "unknown")
        kind = next((name for part, name in FORMATS.items() if part in written.lower()), written)
        layers.append((str(layer.get("Name", "")), kind))
    return layers
