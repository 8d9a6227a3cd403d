"""Building of a plan: an ONNX engine is parsed into a TensorRT network, which is built for ranges of input shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import network_flags, set_capabilities
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.engines.confidence_output import add_confidence
from sacvit_deploy.engines.profiles import InputRanges
from sacvit_deploy.errors import BackendError
from sacvit_deploy.files import whole_file


@dataclass(frozen=True)
class BuildOptions:
    """Options of the builder.

    capabilities: compute capabilities to compile for, with TensorRT-RTX; none is the GPU of this machine. workspace:
    bytes of scratch memory for the builder; None is the library's default. timing_cache: file of kernel timings, read
    before and updated after a build, so that a second build takes seconds.
    """

    capabilities: tuple[str, ...] = ()
    workspace: int | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True)
class Network:
    """Parsed network. Builder and parser are kept because TensorRT's objects refer to each other without owning."""

    library: Library
    builder: Any
    parser: Any
    definition: Any


def parse_network(library: Library, engine: Path) -> Network:
    """Parse an ONNX engine, and let it give its `confidence`; the weights file must lie in the same folder.

    The network is strongly typed: every layer computes in the precision of the file, and the builder chooses none.
    Raises BackendError with all of the parser's errors if the file can't be read.
    """
    trt = library.trt
    library.clear_errors()
    builder = trt.Builder(library.logger)
    definition = builder.create_network(network_flags(library))
    parser = trt.OnnxParser(definition, library.logger)
    if not parser.parse_from_file(str(engine)):
        messages = []
        for error in map(parser.get_error, range(parser.num_errors)):
            where = f"node {error.node_name()} ({error.node_operator()}): " if error.node() >= 0 else ""
            messages.append(where + error.desc())
        if not any(message.startswith("node ") for message in messages):
            # Only the log says why a file can't be opened or is too short.
            messages = [*library.errors[:1], *messages]
        reasons = "; ".join(" ".join(message.split()) for message in messages) or "it does not say why"
        raise BackendError(f"{library.title} can't read {engine}: {reasons}")
    if definition.num_outputs == 0:  # a file that is not ONNX passes for an empty network
        raise BackendError(f"{engine} holds no network")
    add_confidence(library, definition)
    return Network(library, builder, parser, definition)


def build_plan(library: Library, engine: Path, profiles: Sequence[InputRanges], options: BuildOptions) -> bytes:
    """Build the plan of one ONNX engine; returns the serialised plan.

    profiles: optimisation profiles, each from `input_ranges`. TensorRT-RTX needs no GPU to compile for
    `options.capabilities`; TensorRT builds for the GPU of this machine. Raises UsageError for a malformed capability,
    BackendError if the library does not know one, or can't read or build the engine.
    """
    network = parse_network(library, engine)
    inputs = [network.definition.get_input(index).name for index in range(network.definition.num_inputs)]
    for ranges in profiles:
        if set(inputs) != set(ranges):
            given = ", ".join(ranges) or "nothing"
            raise BackendError(f"{engine} has the inputs {', '.join(inputs)}, but ranges were given for {given}")
    config = make_config(network, profiles, options)
    cache = _read_cache(library, config, options.timing_cache)
    library.clear_errors()
    plan = network.builder.build_serialized_network(network.definition, config)
    if plan is None:
        gpus = f" for {', '.join(options.capabilities)}" if options.capabilities else ""
        raise BackendError(f"{library.title} can't build {engine}{gpus}: {library.last_error()}")
    if cache is not None and options.timing_cache is not None:
        try:
            with whole_file(options.timing_cache) as partial:
                partial.write_bytes(bytes(cache.serialize()))
        except OSError as error:
            raise BackendError(f"can't write the timing cache {options.timing_cache}: {error.strerror}") from error
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
