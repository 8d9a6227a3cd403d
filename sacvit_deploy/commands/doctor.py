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
from sacvit_deploy.backends.nvimgcodec.jpeg_decoder import load_library as load_nvimgcodec
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.onnxruntime.plugins import WEBGPU, installed_plugins, short_name
from sacvit_deploy.backends.onnxruntime.row_models import add_model
from sacvit_deploy.backends.onnxruntime.session import CPU, load_library
from sacvit_deploy.backends.openvino.backend import load_library as load_openvino
from sacvit_deploy.backends.tensorrt.library import RUNTIMES
from sacvit_deploy.backends.tensorrt.library import load_library as load_tensorrt
from sacvit_deploy.commands.common import json_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.cpu import core_limits, cpu_features
from sacvit_deploy.device.cuda import find_gpu
from sacvit_deploy.errors import BackendError
from sacvit_deploy.precisions import PRECISIONS

TRIED = (CPU, WEBGPU)  # the providers that the whole cascade was run on
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


@click.command("doctor", cls=StrictCommand)
@json_option
def command(as_json: bool) -> None:
    """Show what this machine can run, and why it can't run the rest."""
    facts = examine()
    say(json.dumps(facts, indent=1) if as_json else doctor_table(facts))


def examine() -> dict[str, Any]:
    """Examine the CPU, the libraries, the execution providers and the GPU; return the facts as JSON."""
    precision, reason = choose_precision(PRECISIONS, "cpu")
    limits = core_limits()
    return {
        "sacvit_deploy": sacvit_deploy.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": limits.cores,
        "core_limits": asdict(limits),
        "cpu_features": cpu_features(),
        "precision": {"auto": precision, "reason": reason},
        "libraries": {name: {"for": use, "version": version(name)} for name, use in LIBRARIES.items()},
        "onnxruntime": {"providers": {}, **facts_or_error(onnxruntime_facts)},
        "openvino": facts_or_error(lambda: {"version": load_openvino().__version__.partition("-")[0]}),
        "gpu": facts_or_error(lambda: asdict(find_gpu())),
        "nvimgcodec": facts_or_error(lambda: {"version": load_nvimgcodec().__version__}),
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
    """Return ONNX Runtime's version and, for each provider, built in or of a package, what `--device` makes of it."""
    library = load_library()
    # Azure's provider calls models on other machines; it is in every wheel and runs nothing here.
    offered = [name for name in library.get_available_providers() if name != "AzureExecutionProvider"]
    plugins = [plugin.provider for plugin in installed_plugins() if plugin.provider not in offered]
    return {"version": library.__version__, "providers": {name: try_provider(name) for name in (*offered, *plugins)}}


def try_provider(name: str) -> str:
    """Open a session of one addition on a provider; return "works" and what it can do, or the reason it does not."""
    try:
        backend = OnnxRuntimeBackend(name, threads=1)
        backend.sessions.open(add_model())
        halves = "fp32 and fp16" if backend.has_fp16 else "fp32 alone, as it has no fp16 shaders"
    except BackendError as error:
        return f"fails ({error})"
    if name == WEBGPU:
        return f"works: {backend.title}, {halves}; --device webgpu"
    return "works" if name in TRIED else f"works; the cascade was not run on it; --device {short_name(name)}"


def doctor_table(facts: dict[str, Any]) -> str:
    """Format the facts as text."""
    lines = [
        f"sacvit-deploy {facts['sacvit_deploy']}, Python {facts['python']}, {facts['machine']}, {facts['cores']} cores",
        f"  CPU: {', '.join(facts['cpu_features']) or 'no instruction sets known to matter'}",
    ]
    limits = facts["core_limits"]
    quota = "no CPU quota" if limits["quota"] is None else f"a quota of {limits['quota']:g} CPUs"
    omp = "" if limits["omp"] is None else f", OMP_NUM_THREADS is {limits['omp']}"
    lines.append(f"  threads      {facts['cores']}: affinity to {limits['affinity']} cores, {quota}{omp}")
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
    others = {"nvimgcodec": facts["nvimgcodec"], **facts["tensorrt"]}
    lines += [f"  {name:<12} {fact.get('version') or fact['error']}" for name, fact in others.items()]
    return "\n".join(lines)
