"""Parsing of an ONNX engine, with the weights file beside it, into a TensorRT network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import network_flags
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.errors import BackendError


@dataclass(frozen=True)
class NetworkTensor:
    """Input or output of a network: TensorRT's type name (`float`, `half`, `int64`) and the shape, -1 where open."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """Parsed network. Builder and parser are kept because TensorRT's objects refer to each other without owning."""

    library: Library
    builder: Any
    parser: Any
    definition: Any
    inputs: Mapping[str, NetworkTensor]
    outputs: Mapping[str, NetworkTensor]


def parse_network(library: Library, engine: Path) -> Network:
    """Parse an ONNX engine; the weights file that it names must lie in the same folder.

    The network is strongly typed: every layer computes in the precision of the file, and the builder chooses none.
    Raises BackendError with all of the parser's errors if the file can't be read.
    """
    trt = library.trt
    library.clear_errors()
    builder = trt.Builder(library.logger)
    definition = builder.create_network(network_flags(library))
    parser = trt.OnnxParser(definition, library.logger)
    if not parser.parse_from_file(str(engine)):
        raise BackendError(f"{library.title} can't read {engine}: {parser_errors(parser, library)}")
    if definition.num_outputs == 0:  # a file that is not ONNX passes for an empty network
        raise BackendError(f"{engine} holds no network")
    inputs = [definition.get_input(index) for index in range(definition.num_inputs)]
    outputs = [definition.get_output(index) for index in range(definition.num_outputs)]
    return Network(library, builder, parser, definition, _describe(inputs), _describe(outputs))


def parser_errors(parser: Any, library: Library) -> str:
    """Join all errors of a parser in one line."""
    messages = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        where = f"node {error.node_name()} ({error.node_operator()}): " if error.node() >= 0 else ""
        messages.append(where + error.desc())
    if not any(message.startswith("node ") for message in messages):
        # Only the log says why a file can't be opened or is too short.
        messages = [*library.errors[:1], *messages]
    return "; ".join(" ".join(message.split()) for message in messages) or "it does not say why"


def _describe(tensors: list[Any]) -> dict[str, NetworkTensor]:
    return {tensor.name: NetworkTensor(tensor.dtype.name.lower(), tuple(tensor.shape)) for tensor in tensors}
