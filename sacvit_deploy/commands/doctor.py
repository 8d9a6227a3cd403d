"""`sacvit doctor`: what this machine can run, and the reasons for what it can't."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import click

import sacvit_deploy
from sacvit_deploy.backends.choose import choose_precision, choose_without_plans
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
from sacvit_deploy.precisions import PRECISIONS, preferred

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
    limits, choice = core_limits(), choose_without_plans()
    runtime, trials = onnxruntime_facts()
    gpu = facts_or_error(lambda: asdict(find_gpu()))
    plans = {
        runtime: facts_or_error(lambda name: {"version": load_tensorrt(name).version}, runtime) for runtime in RUNTIMES
    }
    by_plans = [name for name, facts in plans.items() if "error" not in facts and "error" not in gpu]
    device = choice.device or "cpu"
    reason = choice.reason or "ONNX Runtime has no CUDA here"
    return {
        "sacvit_deploy": sacvit_deploy.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "cores": limits.cores,
        "core_limits": asdict(limits),
        "cpu_features": cpu_features(),
        "device": {"auto": device, "reason": reason, "before": by_plans},
        "precision": auto_precisions(trials, by_plans),
        "libraries": {name: {"for": use, "version": version(name)} for name, use in LIBRARIES.items()},
        "onnxruntime": runtime,
        "openvino": facts_or_error(lambda: {"version": load_openvino().__version__.partition("-")[0]}),
        "gpu": gpu,
        "nvimgcodec": facts_or_error(lambda: {"version": load_nvimgcodec().__version__}),
        "tensorrt": plans,
    }


def auto_precisions(trials: Mapping[str, Trial], by_plans: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return what `precision="auto"` takes on each device that works, where the bundle has it, and why.

    trials: by provider. by_plans: libraries that run plans, which are devices here.
    """
    chosen = {"cpu": choose_precision(PRECISIONS, "cpu")}
    for provider, trial in trials.items():
        device = "cpu" if provider == CPU else short_name(provider)
        if trial.works and device != "cpu":
            precision, reason = choose_precision([name for name in PRECISIONS if name not in trial.refused], device)
            refused = trial.refused.get(preferred(PRECISIONS, on_cpu=False)[0])
            chosen[device] = precision, reason if refused is None else refused
    for name in by_plans:
        chosen[name] = choose_precision(PRECISIONS, name)
    return {device: {"auto": precision, "reason": reason} for device, (precision, reason) in chosen.items()}


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


@dataclass(frozen=True)
class Trial:
    """A provider after a session was opened on it. state: for people; refused: precisions it does not run, and why."""

    works: bool
    state: str
    refused: Mapping[str, str] = field(default_factory=dict)


def onnxruntime_facts() -> tuple[dict[str, Any], dict[str, Trial]]:
    """Return ONNX Runtime's version and what became of each provider, built in or of a package; and their trials."""
    try:
        library = load_library()
    except BackendError as error:
        return {"providers": {}, "error": str(error)}, {}
    # Azure's provider calls models on other machines; it is in every wheel and runs nothing here.
    offered = [name for name in library.get_available_providers() if name != "AzureExecutionProvider"]
    plugins = [plugin.provider for plugin in installed_plugins() if plugin.provider not in offered]
    trials = {name: try_provider(name) for name in (*offered, *plugins)}
    states = {name: trial.state for name, trial in trials.items()}
    return {"version": library.__version__, "providers": states}, trials


def try_provider(name: str) -> Trial:
    """Open a session of one addition on a provider, and find out what it can do."""
    try:
        backend = OnnxRuntimeBackend(name, threads=1)
        backend.sessions.open(add_model())
        halves = "fp32 and fp16" if backend.has_fp16 else "fp32 alone, as it has no fp16 shaders"
        refused = {precision: why for precision in PRECISIONS if (why := backend.why_not(precision))}
    except BackendError as error:
        return Trial(False, f"fails ({error})")
    state = "works" if name in TRIED else f"works; the cascade was not run on it; --device {short_name(name)}"
    if name == WEBGPU:
        state = f"works: {backend.title}, {halves}; --device webgpu"
    return Trial(True, state, refused)


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
    device = facts["device"]
    before = (
        f"; before it, {' or '.join(device['before'])} with a bundle's plans for this GPU" if device["before"] else ""
    )
    lines.append(f"  device       auto is {device['auto']}: {device['reason']}{before}")
    lines.append("  precision    auto is, where the bundle has it,")
    for name, chosen in facts["precision"].items():
        lines.append(f"    {name:<12} {chosen['auto']}: {chosen['reason']}")
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
