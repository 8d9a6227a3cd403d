"""A network and its ranges of shapes to a plan, on any machine: the library compiles for GPUs that are not there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.engines.library import Library
from sacvit_deploy.engines.network import Network, parse
from sacvit_deploy.engines.profiles import Shapes
from sacvit_deploy.errors import BackendError, UsageError


def build_plan(engine: Path, shapes: Mapping[str, Shapes], capabilities: Sequence[str]) -> bytes:
    """Build one engine's plan for GPUs of the given compute capabilities, "8.6" for instance; returns its bytes.

    shapes: the ranges of each input (see `stage_shapes`). No GPU is used and the plan is not run. Raises UsageError for
    what is no capability, BackendError if the library is missing, does not know a capability, or can't read or build
    the engine.
    """
    if not capabilities:
        raise UsageError("name at least one compute capability to build for, such as 8.6")
    network = parse(engine)
    if set(network.inputs) != set(shapes):
        wanted, given = ", ".join(network.inputs), ", ".join(shapes) or "nothing"
        raise BackendError(f"{engine} has the inputs {wanted}, but ranges were given for {given}")
    config = make_config(network, shapes, capabilities)
    library = network.library
    library.forget()
    plan = network.builder.build_serialized_network(network.definition, config)
    if plan is None:
        reason = " ".join(" ".join(library.errors).split()) or "it does not say why"
        raise BackendError(f"TensorRT-RTX can't build {engine} for {', '.join(capabilities)}: {reason}")
    return bytes(plan)


def make_config(network: Network, shapes: Mapping[str, Shapes], capabilities: Sequence[str]) -> Any:
    """The library's settings for one build. Raises UsageError, BackendError for capabilities as `build_plan` does."""
    library = network.library
    config = network.builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for index, capability in enumerate(capabilities):
        config.set_compute_capability(find_capability(library, capability), index)
    # On by default, it computes products of fp32 tensors with the ten bits of TF32: not what the file says.
    config.clear_flag(library.trt.BuilderFlag.TF32)
    profile = network.builder.create_optimization_profile()
    for name, its in shapes.items():
        profile.set_shape(name, *its)
    config.add_optimization_profile(profile)
    return config


def find_capability(library: Library, capability: str) -> Any:
    """The library's word for "8.6". Raises UsageError for another form, BackendError for one it can't build for."""
    parts = re.fullmatch(r"(\d+)\.(\d)", capability)
    if parts is None:
        raise UsageError(f"{capability!r} is no compute capability; write it as 8.6")
    known = library.trt.ComputeCapability.__members__
    name = f"SM{parts[1]}{parts[2]}"
    if name not in known:
        offered = ", ".join(f"{key[2:-1]}.{key[-1]}" for key in known if re.fullmatch(r"SM\d+", key))
        raise BackendError(f"this TensorRT-RTX can't build for compute capability {capability}; it offers {offered}")
    return known[name]
