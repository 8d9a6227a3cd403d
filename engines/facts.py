"""What a built plan holds, read back from the library: layers, precisions, profiles, memory."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import device_memory
from sacvit_deploy.backends.tensorrt.device import read_profiles
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.errors import BackendError

# How the inspector's words for formats begin, and what they are called here.
WORDS = {"half": "half", "fp16": "half", "float": "float", "fp32": "float"} | {t: t for t in ("int8", "int64", "int32")}


def load_plan(library: Library, plan: bytes) -> Any:
    """Deserialise a plan, on the GPU it was built for. Raises BackendError."""
    library.clear_errors()
    engine = library.trt.Runtime(library.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{library.title} can't load the plan: {library.last_error()}")
    return engine


def read_back(library: Library, engine: Any) -> dict[str, Any]:
    """Facts of a deserialised engine; needs its GPU."""
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(library.trt.LayerInformationFormat.JSON)
    layers = parse_layers(text)
    return {
        "read_from": "engine",
        "layers": len(layers),
        "precisions": dict(Counter(kind for _, kind in layers).most_common()),
        "profiles": len(read_profiles(engine)),
        "device_memory": device_memory(engine),
    }


def parse_layers(text: str) -> list[tuple[str, str]]:
    """The inspector's JSON -> (name, type of its first output) for each layer; unknown types stay as written."""
    found = []
    for layer in json.loads(text).get("Layers", []):
        if isinstance(layer, str):  # names alone, where the plan was built without details
            found.append((layer, "unknown"))
            continue
        outputs = layer.get("Outputs") or [{}]
        written = str(outputs[0].get("Format/Datatype") or outputs[0].get("Datatype") or "unknown")
        kind = next((word for start, word in WORDS.items() if start in written.lower()), written)
        found.append((str(layer.get("Name", "")), kind))
    return found
