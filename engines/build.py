"""Building of a plan from an ONNX engine and the shape ranges of its inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import set_capabilities
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.engines.network import Network, parse_network
from sacvit_deploy.engines.profiles import InputRanges
from sacvit_deploy.errors import BackendError
from sacvit_deploy.files import whole_file


@dataclass(frozen=True)
class BuildOptions:
    """Options of the builder.

    capabilities: compute capabilities to compile for, with TensorRT-RTX. workspace: bytes of scratch memory for the
    builder; None is the library's default. timing_cache: file of kernel timings, read before and updated after a
    build, so that a second build takes seconds.
    """

    capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    timing_cache: Path | None = None


def build_plan(library: Library, engine: Path, profiles: Sequence[InputRanges], options: BuildOptions) -> bytes:
    """Build the plan of one ONNX engine; returns the serialised plan.

    profiles: optimisation profiles, each from `input_ranges`. TensorRT-RTX needs no GPU and compiles for
    `options.capabilities`; TensorRT builds for the GPU of this machine. Raises UsageError for a malformed capability,
    BackendError if the library does not know one, or can't read or build the engine.
    """
    network = parse_network(library, engine)
    for ranges in profiles:
        if set(network.inputs) != set(ranges):
            wanted, given = ", ".join(network.inputs), ", ".join(ranges) or "nothing"
            raise BackendError(f"{engine} has the inputs {wanted}, but ranges were given for {given}")
    config = make_config(network, profiles, options)
    cache = _read_cache(library, config, options.timing_cache)
    library.clear_errors()
    plan = network.builder.build_serialized_network(network.definition, config)
    if plan is None:
        gpus = f" for {', '.join(options.capabilities)}" if options.capabilities else ""
        raise BackendError(f"{library.title} can't build {engine}{gpus}: {library.last_error()}")
    if cache is not None and options.timing_cache is not None:
        _write_cache(cache, options.timing_cache)
    return bytes(plan)


def make_config(network: Network, profiles: Sequence[InputRanges], options: BuildOptions) -> Any:
    """Make the library's builder configuration. Raises UsageError and BackendError as `build_plan` does."""
    library = network.library
    trt = library.trt
    config = network.builder.create_builder_config()
    set_capabilities(library, config, options.capabilities)
    # On by default, it computes products of fp32 tensors with the ten bits of TF32, which is not what the file says.
    config.clear_flag(trt.BuilderFlag.TF32)
    # Lets the inspector report layers and their precisions.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    for ranges in profiles:
        profile = network.builder.create_optimization_profile()
        for name, shapes in ranges.items():
            profile.set_shape(name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise BackendError(f"{library.title} refuses the ranges {dict(ranges)}")
    return config


def layer_precisions(network: Network) -> dict[str, int]:
    """Count layers by element type, the commonest first. A strongly typed network is built in just these types."""
    layers = [network.definition.get_layer(index) for index in range(network.definition.num_layers)]
    return dict(Counter(layer.get_output(0).dtype.name.lower() for layer in layers if layer.num_outputs).most_common())


def _read_cache(library: Library, config: Any, path: Path | None) -> Any:
    """Give the builder the timing cache at `path`, an empty one if there is no file. Raises BackendError."""
    if path is None:
        return None
    cache = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
    library.clear_errors()
    if cache is None or not config.set_timing_cache(cache, False):
        raise BackendError(
            f"{path} is not a timing cache of this {library.title} and GPU ({library.last_error()}); "
            "remove it or name another"
        )
    return cache


def _write_cache(cache: Any, path: Path) -> None:
    try:
        with whole_file(path) as partial:
            partial.write_bytes(bytes(cache.serialize()))
    except OSError as error:
        raise BackendError(f"can't write the timing cache {path}: {error.strerror}") from error
