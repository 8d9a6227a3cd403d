"""A network and its ranges of shapes to a plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import set_capabilities
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.engines.network import Network, parse
from sacvit_deploy.engines.profiles import Shapes
from sacvit_deploy.errors import BackendError
from sacvit_deploy.files import whole_file

Profile = Mapping[str, Shapes]


@dataclass(frozen=True)
class Limits:
    """How a plan is built. workspace: bytes the builder may try layers with; None is the library's own limit.

    timing_cache: a file of timings that is read and brought up to date, so that a second build takes seconds.
    """

    capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    timing_cache: Path | None = None


def build_plan(library: Library, engine: Path, profiles: Sequence[Profile], limits: Limits) -> bytes:
    """Build one engine's plan; returns its bytes.

    profiles: the ranges of each input (see `stage_shapes`), one mapping for each profile. TensorRT-RTX needs no GPU,
    and compiles for `limits.capabilities`; TensorRT builds for the GPU at hand. Raises UsageError for what is no
    capability, BackendError if the library does not know one, or can't read or build the engine.
    """
    network = parse(library, engine)
    for profile in profiles:
        if set(network.inputs) != set(profile):
            wanted, given = ", ".join(network.inputs), ", ".join(profile) or "nothing"
            raise BackendError(f"{engine} has the inputs {wanted}, but ranges were given for {given}")
    config = make_config(network, profiles, limits)
    cache = _read_cache(library, config, limits.timing_cache)
    library.clear_errors()
    plan = network.builder.build_serialized_network(network.definition, config)
    if plan is None:
        whom = f" for {', '.join(limits.capabilities)}" if limits.capabilities else ""
        raise BackendError(f"{library.title} can't build {engine}{whom}: {library.last_error()}")
    if cache is not None and limits.timing_cache is not None:
        _write_cache(cache, limits.timing_cache)
    return bytes(plan)


def make_config(network: Network, profiles: Sequence[Profile], limits: Limits) -> Any:
    """The library's settings for one build. Raises UsageError, BackendError for capabilities as `build_plan` does."""
    library = network.library
    trt = library.trt
    config = network.builder.create_builder_config()
    set_capabilities(library, config, limits.capabilities)
    # On by default, it computes products of fp32 tensors with the ten bits of TF32: not what the file says.
    config.clear_flag(trt.BuilderFlag.TF32)
    # So that `sacvit inspect` can read layers and their precisions back.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if limits.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, limits.workspace)
    for its in profiles:
        profile = network.builder.create_optimization_profile()
        for name, shapes in its.items():
            profile.set_shape(name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"{library.title} refuses the ranges {dict(its)}")
    return config


def precisions(network: Network) -> dict[str, int]:
    """How many layers compute in each type. A strongly typed network is built in these and no others."""
    layers = [network.definition.get_layer(index) for index in range(network.definition.num_layers)]
    return dict(Counter(layer.get_output(0).dtype.name.lower() for layer in layers if layer.num_outputs).most_common())


def _read_cache(library: Library, config: Any, path: Path | None) -> Any:
    """Give the builder a timing cache, empty where the file is not there yet."""
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    library.clear_errors()
    if cache is None or not config.set_timing_cache(cache, False):
        raise BackendError(
            f"{path} is no timing cache of this {library.title} and GPU ({library.last_error()}); "
            "remove it or name another"
        )
    return cache


def _write_cache(cache: Any, path: Path) -> None:
    try:
        with whole_file(path) as partial:
            partial.write_bytes(bytes(cache.serialize()))
    except OSError as error:
        raise BackendError(f"can't write the timing cache {path}: {error.strerror}") from error
