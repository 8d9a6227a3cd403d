"""Engines to build plans from: tiny models, each stage of each precision written once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch

from sacvit_deploy.backends.tensorrt.library import Library, load_library
from sacvit_deploy.bundle.weights import write_engines, write_graph
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.calibration.quantise import quantise
from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.engines.build import Network
from sacvit_deploy.export.glue import GatherStage, ViewStage
from sacvit_deploy.export.graph import trace
from sacvit_deploy.export.modules import EEStage, PlainDeiT, SACStage, dtype_of, halve, random_model

Files = dict[str, Path]
PRECISIONS = ("fp32", "fp16", "int8")
STAGES = ("ee", "sac", "deit")
GLUE = ("view", "gather")
ROLES = (*STAGES, *GLUE)


def inputs_of(network: Network) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Describe a network's inputs: TensorRT's type name (`float`, `half`, `int64`) and the shape, -1 where open."""
    return described([network.definition.get_input(index) for index in range(network.definition.num_inputs)])


def outputs_of(network: Network) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Describe a network's outputs as `inputs_of` does its inputs."""
    return described([network.definition.get_output(index) for index in range(network.definition.num_outputs)])


def described(tensors: list[Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {tensor.name: (tensor.dtype.name.lower(), tuple(tensor.shape)) for tensor in tensors}


def tiny(size: int = 224, **method: object) -> ModelConfig:
    """Make a tiny config, at 224 with the geometry of the bundle that all tests share."""
    depth = 2 if size == 224 else 1
    return ModelConfig(Geometry(size, width=64, depth=depth, heads=1, classes=10), Method(**method))  # type: ignore[arg-type]


def write_variant(folder: Path, config: ModelConfig, precision: str, roles: tuple[str, ...] = ROLES) -> Files:
    """Write fp32 or fp16 engines as a bundle holds them; returns paths by role, with `weights`."""
    model = random_model(config, seed=1)
    if precision == "fp16":
        model = halve(model)
    stages = {"ee": EEStage, "sac": SACStage, "deit": PlainDeiT}
    glue = {"view": ViewStage, "gather": GatherStage}
    files = write_engines(folder, {role: trace(stages[role](model)) for role in roles if role in stages}, precision)
    for role in roles:
        if role in glue:
            module = glue[role](config, dtype_of(model))
            files[role] = write_graph(folder / f"{role}.{precision}.onnx", trace(module))
    return files


def write_int8(folder: Path, fp32: Files) -> Files:
    """Write int8 engines made from fp32 ones with arbitrary ranges, which change numbers but not the graph."""
    graphs = {}
    for role in STAGES:
        model = onnx.load(str(fp32[role]))
        graphs[role] = ir.from_proto(quantise(model, {linear.layer: 4.0 for linear in linears(model)}))
        graphs[role].graph.sort()
    return {**write_engines(folder, graphs, "int8"), **{role: fp32[role] for role in GLUE}}


@pytest.fixture(scope="session")
def variants(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str], Files]:
    """Return a variant by image size and precision, written on first use. Shared: change no file."""
    done: dict[tuple[int, str], Files] = {}

    def write(size: int, precision: str) -> Files:
        if precision == "int8":
            return write_int8(tmp_path_factory.mktemp("engines"), variant(size, "fp32"))
        if size == 224:
            files = {role: tiny_bundle / f"{role}.{precision}.onnx" for role in ROLES}
            return files | {"weights": tiny_bundle / f"weights.{precision}.bin"}
        return write_variant(tmp_path_factory.mktemp("engines"), tiny(size), precision)

    def variant(size: int, precision: str) -> Files:
        if (size, precision) not in done:
            done[size, precision] = write(size, precision)
        return done[size, precision]

    return variant


@pytest.fixture(scope="session")
def rtx() -> Library:
    """Load TensorRT-RTX; skips the test where it has no wheel."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this platform")
    return load_library("tensorrt-rtx")


@pytest.fixture
def onnx_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a small ONNX file from the text of its graph, and the names of its first nodes."""

    def write(text: str, *names: str) -> Path:
        path = tmp_path / "small.onnx"
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18]>\n{text}')
        for node, name in zip(model.graph.node, names, strict=False):
            node.name = name  # old parsers don't read names
        path.write_bytes(model.SerializeToString())
        return path

    return write


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Run on one thread, as several slow such small models down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
