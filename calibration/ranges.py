"""Ranges of the linear layers' inputs: one pass for the channels' maxima, one more where histograms are needed."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.session import SessionFactory, load_library
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.errors import OutputError

Range = Literal["minmax", "percentile", "entropy"]
RANGES: tuple[Range, ...] = ("minmax", "percentile", "entropy")
PERCENTILE = 99.99
BINS = {"percentile": 2048, "entropy": 1024}  # entropy tries every cut: its time grows with their square
Maxima = dict[str, npt.NDArray[np.float32]]  # layer: [K] largest absolute value of each input channel
Batches = Iterable[Mapping[str, Array]]  # an engine's inputs


def channel_maxima(model: onnx.ModelProto, batches: Batches, threads: int) -> Maxima:
    """Run an engine over `batches` and return each layer's largest absolute input by channel.

    Raises OutputError naming the first layer whose input is NaN or infinite.
    """
    watched = copy.deepcopy(model)
    layers = linears(model)
    watched.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "maxima_axis"))
    read = {linear.input: linear.channels for linear in layers}  # several layers may read one tensor
    for tensor, channels in read.items():
        stem = f"maxima/{tensor}"
        rows = numpy_helper.from_array(np.array([-1, channels], np.int64), f"{stem}/rows")
        watched.graph.initializer.append(rows)
        watched.graph.node.extend(
            [
                helper.make_node("Abs", [tensor], [f"{stem}/abs"]),
                helper.make_node("Reshape", [f"{stem}/abs", rows.name], [f"{stem}/flat"]),
                helper.make_node("ReduceMax", [f"{stem}/flat", "maxima_axis"], [stem], keepdims=0),
                # ONNX Runtime's maximum ignores most NaNs; its sum ignores none.
                helper.make_node("ReduceSum", [f"{stem}/flat"], [f"{stem}/sum"], keepdims=0),
            ]
        )
        watched.graph.output.append(helper.make_tensor_value_info(stem, TensorProto.FLOAT, [channels]))
        watched.graph.output.append(helper.make_tensor_value_info(f"{stem}/sum", TensorProto.FLOAT, []))
    maxima: Maxima = {}
    for values in _run(watched, batches, threads):
        for linear in layers:
            value = values[f"maxima/{linear.input}"]
            if not np.isfinite(values[f"maxima/{linear.input}/sum"]):
                raise OutputError(
                    f"the input of layer {linear.layer} is NaN or infinite on a calibration image; no range can be "
                    "taken from it"
                )
            # One layer may be used with several inputs.
            maxima[linear.layer] = np.maximum(maxima.get(linear.layer, np.float32(0)), value)
    return maxima


def tensor_ranges(
    model: onnx.ModelProto, batches: Batches, method: Range, maxima: Maxima, threads: int
) -> dict[str, float]:
    """Return by layer the largest absolute value of its input that int8 shall represent.

    minmax takes it from `maxima`, which must belong to this (smoothed) model; percentile and entropy take it from
    histograms made by ONNX Runtime's own collector.
    """
    if method == "minmax":
        return {layer: float(value.max()) for layer, value in maxima.items()}
    load_library()  # its telemetry off before it is imported
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method=method,
        symmetric=True,
        num_bins=BINS[method],
        num_quantized_bins=128,
        percentile=PERCENTILE,
        scenario="same",
    )
    watched = copy.deepcopy(model)
    layers = linears(model)
    read = list(dict.fromkeys(linear.input for linear in layers))
    known = {value.name for value in (*model.graph.output, *model.graph.input)}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in read if name not in known
    )
    with contextlib.redirect_stdout(io.StringIO()):  # the collector prints
        # The first batch decides the bins' width, and larger values add bins: begin with the largest.
        collector.collect({linear.input: [np.array([0, maxima[linear.layer].max()], np.float32)] for linear in layers})
        for values in _run(watched, batches, threads):
            collector.collect({name: [values[name]] for name in read})
        result = collector.compute_collection_result()
    ranges: dict[str, float] = {}
    for linear in layers:
        # The collector returns the lower edge of a bin: 0 where almost all values lie in the first bin.
        top = max(abs(float(end)) for end in result[linear.input][:2]) or float(maxima[linear.layer].max())
        ranges[linear.layer] = max(top, ranges.get(linear.layer, 0.0))
    return ranges


def _run(model: onnx.ModelProto, batches: Batches, threads: int) -> Iterator[dict[str, Array]]:
    """Run a model over `batches`, and yield the inputs and outputs of each by name."""
    session = SessionFactory(threads).open(model.SerializeToString())
    names = [value.name for value in session.get_outputs()]
    for batch in batches:
        yield {**batch, **dict(zip(names, session.run(names, dict(batch)), strict=True))}
