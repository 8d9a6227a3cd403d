"""An ONNX file, its weights file beside it, to a TensorRT network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacvit_deploy.backends.tensorrt.compat import network_flags
from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.errors import BackendError


@dataclass(frozen=True)
class Tensor:
    """An input or output: its type (`float`, `half`, `int64`, the library's words) and its shape, -1 where open."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """A parsed network. The library's objects lean on each other: the builder and the parser must live as long."""

    library: Library
    builder: Any
    parser: Any
    definition: Any
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


def parse(library: Library, engine: Path) -> Network:
    """Read one engine; its weights are looked for in the same folder, under the name the file says.

    The network is strongly typed: every layer computes in the precision the file says, none is chosen by the builder.
    Raises BackendError with all that the library objects to if it can't read the file.
    """
    trt = library.trt
    library.clear_errors()
    builder = trt.Builder(library.logger)
    definition = builder.create_network(network_flags(library))
    parser = trt.OnnxParser(definition, library.logger)
    if not parser.parse_from_file(str(engine)):
        raise BackendError(f"{library.title} can't read {engine}: {objections(parser, library)}")
    if definition.num_outputs == 0:  # what is no ONNX at all passes for an empty network
        raise BackendError(f"{engine} holds no network")
    inputs = [definition.get_input(index) for index in range(definition.num_inputs)]
    outputs = [definition.get_output(index) for index in range(definition.num_outputs)]
    return Network(library, builder, parser, definition, _describe(inputs), _describe(outputs))


def objections(parser: Any, library: Library) -> str:
    """Every error of a parser in one line."""
    found = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        where = f"node {error.node_name()} ({error.node_operator()}): " if error.node() >= 0 else ""
        found.append(where + error.desc())
    if not any(text.startswith("node ") for text in found):
        # Why a file can't be opened, or is too short, stands in the log alone.
        found = [*library.errors[:1], *found]
    return "; ".join(" ".join(text.split()) for text in found) or "it does not say why"


def _describe(tensors: list[Any]) -> dict[str, Tensor]:
    return {tensor.name: Tensor(tensor.dtype.name.lower(), tuple(tensor.shape)) for tensor in tensors}
