"""How large the inputs of the linear layers get: one pass for channels' maxima, one for histograms where asked for."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.calibration.linears import Linear, linears
from sacvit_deploy.errors import OutputError

Range = Literal["minmax", "percentile", "entropy"]
RANGES: tuple[Range, ...] = ("minmax", "percentile", "entropy")
PERCENTILE = 99.99
BINS = {"percentile": 2048, "entropy": 1024}  # entropy tries every cut of them: its time grows with the square
Maxima = dict[str, npt.NDArray[np.float32]]  # layer: [K] largest absolute value of each input channel
Feeds = Iterable[Mapping[str, Array]]


def channel_maxima(model: onnx.ModelProto, feeds: Feeds, threads: int) -> Maxima:
    """Run an engine over `feeds` and return each layer's largest absolute input by channel.

    Raises OutputError naming the first layer whose input is NaN or infinite.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    found = linears(model)
    watched.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "maxima_axis"))
    read = {linear.input: channels_of(model, linear) for linear in found}  # several layers may read one tensor
    for tensor, channels in read.items():
        stem = f"maxima/{tensor}"
        rows = numpy_helper.from_array(np.array([-1, channels], np.int64), f"{stem}/rows")
        watched.graph.initializer.append(rows)
        watched.graph.node.extend(
            [
                helper.make_node("Abs", [tensor], [f"{stem}/abs"]),
                helper.make_node("Reshape", [f"{stem}/abs", rows.name], [f"{stem}/flat"]),
                helper.make_node("ReduceMax", [f"{stem}/flat", "maxima_axis"], [stem], keepdims=0),
                # ONNX Runtime's maximum passes over most NaNs, a sum over none.
                helper.make_node("ReduceSum", [f"{stem}/flat"], [f"{stem}/sum"], keepdims=0),
            ]
        )
        watched.graph.output.append(helper.make_tensor_value_info(stem, TensorProto.FLOAT, [channels]))
        watched.graph.output.append(helper.make_tensor_value_info(f"{stem}/sum", TensorProto.FLOAT, []))
    session = SessionFactory(threads).open(watched.SerializeToString())
    names = [f"maxima/{tensor}{part}" for tensor in read for part in ("", "/sum")]
    maxima: Maxima = {}
    for feed in feeds:
        values = dict(zip(names, session.run(names, dict(feed)), strict=True))
        for linear in found:
            value = values[f"maxima/{linear.input}"]
            if not (np.isfinite(value).all() and np.isfinite(values[f"maxima/{linear.input}/sum"])):
                raise OutputError(
                    f"the input of layer {linear.layer} is NaN or infinite on a calibration picture; no range can be "
                    "taken from it"
                )
            # One layer may be used with several inputs.
            maxima[linear.layer] = np.maximum(maxima.get(linear.layer, np.float32(0)), value)
    return maxima


def tensor_ranges(
    model: onnx.ModelProto, feeds: Feeds, method: Range, maxima: Maxima, threads: int
) -> dict[str, float]:
    """Return the largest absolute value to represent of each layer's input, by layer.

    minmax takes it from `maxima`, which must be of this same (smoothed) model; percentile and entropy from histograms,
    which ONNX Runtime's own collector makes.
    """
    if method == "minmax":
        return {layer: float(value.max()) for layer, value in maxima.items()}
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector(
        method=method,
        symmetric=True,
        num_bins=BINS[method],
        num_quantized_bins=128,
        percentile=PERCENTILE,
        scenario="same",
    )
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    found = linears(model)
    read = list(dict.fromkeys(linear.input for linear in found))
    known = {value.name for value in model.graph.output} | {value.name for value in model.graph.input}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in read if name not in known
    )
    session = SessionFactory(threads).open(watched.SerializeToString())
    outputs = [value.name for value in session.get_outputs()]
    # Bins get their width from what comes first, and more are added for what exceeds it: begin with the largest.
    tops = {linear.input: np.array([0, maxima[linear.layer].max()], np.float32) for linear in found}
    _collect(collector, tops)
    for feed in feeds:
        values = dict(zip(outputs, session.run(outputs, dict(feed)), strict=True)) | dict(feed)
        _collect(collector, {name: np.asarray(values[name]) for name in read})
    with contextlib.redirect_stdout(io.StringIO()):
        result = collector.compute_collection_result()
    ranges: dict[str, float] = {}
    for linear in found:
        # The lower edge of a bin, which is 0 where all but a few outliers lie in the first.
        top = max(abs(float(end)) for end in result[linear.input][:2]) or float(maxima[linear.layer].max())
        ranges[linear.layer] = max(top, ranges.get(linear.layer, 0.0))
    return ranges


def _collect(collector: Any, values: Mapping[str, Array]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        collector.collect({name: [value] for name, value in values.items()})


def channels_of(model: onnx.ModelProto, linear: Linear) -> int:
    """K of a layer's [.., K] input."""
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == linear.weight)
    node = next(node for node in model.graph.node if node.name == linear.node)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return int(weight.dims[1] if transposed else weight.dims[0])
