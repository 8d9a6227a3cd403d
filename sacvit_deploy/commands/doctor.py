"""`sacvit doctor`: what this machine can run, and the reasons for what it can't."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

import sacvit_deploy
from sacvit_deploy.backends.choose import choose_precision
from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.backends.openvino.backend import load_library as load_openvino
from sacvit_deploy.backends.tensorrt.library import RUNTIMES
from sacvit_deploy.backends.tensorrt.library import load_library as load_tensorrt
from sacvit_deploy.commands.common import json_option
from sacvit_deploy.cpu import cpu_features, usable_cores
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.errors import BackendError, first_line
from sacvit_deploy.precisions import PRECISIONS

# import name: what needs it
LIBRARIES = {
    "numpy": "runtime",
    "PIL": "runtime",
    "click": "commands",
    "torch": "export",
    "onnx": "export",
    "onnxscript": "export",
    "safetensors": "export",
    "matplotlib": "sweep, curves",
}


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show what this machine can run, and why it can't run the rest."""
    facts = examine()
    click.echo(json.dumps(facts, indent=1) if as_json else doctor_table(facts))


def examine() -> dict[str, Any]:
    """Examine the CPU, the libraries, the execution providers and the GPU; return the facts as JSON."""
    precision, reason = choose_precision(PRECISIONS, "cpu")
    return {
        "sacvit_deploy": sacvit_deploy.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "cpu_features": cpu_features(),
        "precision": {"auto": precision, "reason": reason},
        "libraries": {name: {"for": use, "version": version(name)} for name, use in LIBRARIES.items()},
        "onnxruntime": {"providers": {}, **facts_or_error(onnxruntime_facts)},
        "openvino": facts_or_error(lambda: {"version": load_openvino().__version__.partition("-")[0]}),
        "gpu": facts_or_error(lambda: asdict(find_gpu())),
        "tensorrt": {
            runtime: facts_or_error(lambda name: {"version": load_tensorrt(name).version}, runtime)
            for runtime in RUNTIMES
        },
    }


def facts_or_error(examine: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Return the facts about a library or device, or the error of loading it under `error`."""
    try:
        return examine(*arguments)
    except BackendError as error:
        return {"error": str(error)}


def version(name: str) -> str | None:
    """Return a library's version without importing it (torch takes seconds), or None."""
    names = importlib.metadata.packages_distributions().get(name)
    return importlib.metadata.version(names[0]) if names else None


def onnxruntime_facts() -> dict[str, Any]:
    """Return ONNX Runtime's version and, for each provider it lists, whether a session really runs on it."""
    library = load_library()
    # Azure's provider calls models on other machines; it is in every wheel and runs nothing here.
    offered = [name for name in library.get_available_providers() if name != "AzureExecutionProvider"]
    return {"version": library.__version__, "providers": {name: try_provider(library, name) for name in offered}}


def try_provider(library: Any, name: str) -> str:
    """Open a session of one addition on a provider; return "works", or the reason it does not."""
    options = library.SessionOptions()
    options.log_severity_level = 4
    try:
        session = library.InferenceSession(tiny_model(), options, providers=[name])
    except Exception as error:
        return f"fails ({first_line(error, 120)})"
    actual = session.get_providers()[0]
    return "works" if actual == name else f"listed, but its libraries can't load (the session got {actual})"


def tiny_model() -> bytes:
    """Build an ONNX model that adds a float to itself, as protobuf by hand: the runtime has no onnx package."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    def value(name: bytes) -> bytes:
        tensor = b"\x08\x01" + field(2, field(1, b"\x08\x01"))  # elem_type FLOAT, shape [1]
        return field(1, name) + field(2, field(1, tensor))

    node = field(1, b"x") + field(1, b"x") + field(2, b"y") + field(4, b"Add")
    graph = field(1, node) + field(2, b"g") + field(11, value(b"x")) + field(12, value(b"y"))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x0d")  # IR version 8, opset 13


def doctor_table(facts: dict[str, Any]) -> str:
    """Format the facts as text."""
    lines = [
        f"sacvit-deploy {facts['sacvit_deploy']}, Python {facts['python']}, {facts['machine']}, {facts['cores']} cores",
        f"  CPU: {', '.join(facts['cpu_features']) or 'no instruction sets known to matter'}",
    ]
    precision = facts["precision"]
    lines.append(f"  precision    auto is {precision['auto']} where the bundle has it: {precision['reason']}")
    for name, fact in facts["libraries"].items():
        state = fact["version"] or f"missing (needed for {fact['for']})"
        lines.append(f"  {name:<12} {state}")
    runtime = facts["onnxruntime"]
    lines.append(f"  onnxruntime  {runtime.get('version') or runtime['error']}")
    lines += [f"    {name:<28} {state}" for name, state in runtime["providers"].items()]
    openvino = facts["openvino"]
    lines.append(f"  openvino     {openvino.get('version') or openvino['error']}")
    gpu = facts["gpu"]
    state = gpu.get("error") or (
        f"{gpu['name']}, compute capability {gpu['compute_capability']}, {gpu['memory'] / 2**30:.0f} GiB, "
        f"driver for CUDA {gpu['driver']}"
    )
    lines.append(f"  gpu          {state}")
    lines += [f"  {name:<12} {fact.get('version') or fact['error']}" for name, fact in facts["tensorrt"].items()]
    return "\n".join(lines)
