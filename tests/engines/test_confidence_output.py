"""The layers behind the logits, in the real library's network. None is run, as that needs a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.backends.tensorrt.library import Library
from sacvit_deploy.engines import build
from sacvit_deploy.engines.build import parse_network
from sacvit_deploy.engines.confidence_output import add_confidence
from sacvit_deploy.engines.facts import network_facts

from .conftest import PRECISIONS, Files, outputs_of

Variants = Callable[[int, str], Files]


@pytest.mark.parametrize("role", ["ee", "sac", "deit"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_four_layers_in_fp32(
    rtx: Library, precision: str, role: str, variants: Variants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Highest of the softmax over classes and sum of the logits, side by side; nothing of it is in half or int8."""
    network = parse_network(rtx, variants(224, precision)[role])
    monkeypatch.setattr(build, "add_confidence", lambda *_: None)
    before = parse_network(rtx, variants(224, precision)[role])
    definition, trt = network.definition, rtx.trt
    added = [definition.get_layer(index) for index in range(before.definition.num_layers, definition.num_layers)]
    kinds = trt.LayerType
    assert [layer.type for layer in added] == [kinds.SOFTMAX, kinds.REDUCE, kinds.REDUCE, kinds.CONCATENATION]
    softmax, highest, total, joined = added
    softmax.__class__, joined.__class__ = trt.ISoftMaxLayer, trt.IConcatenationLayer  # as NVIDIA says to do it
    highest.__class__ = total.__class__ = trt.IReduceLayer
    assert {layer.get_output(0).dtype for layer in added} == {trt.float32}
    assert names(softmax) == names(total) == ["logits"] and softmax.axes == highest.axes == total.axes == 2
    assert (highest.op, total.op) == (trt.ReduceOperation.MAX, trt.ReduceOperation.SUM)
    assert names(highest) == [softmax.get_output(0).name] and joined.axis == 1
    assert names(joined) == [highest.get_output(0).name, total.get_output(0).name]
    outputs = network_facts(network)["outputs"]
    assert outputs == [*outputs_of(before), "confidence"] and outputs_of(network)["confidence"] == ("float", (-1, 2))


def names(layer: Any) -> list[str]:
    return [layer.get_input(index).name for index in range(layer.num_inputs)]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n,4] x) => (float[n,4] image) {\nimage = Neg(x)\n}",
        "g (float[n,4] x) => (float[n,4] logits, float[n,4] confidence) {\nlogits = Neg(x)\nconfidence = Abs(x)\n}",
    ],
)
def test_no_logits_or_a_confidence_already(rtx: Library, text: str, onnx_file: Callable[[str], Path]) -> None:
    network = parse_network(rtx, onnx_file(text))
    before = network.definition.num_layers
    add_confidence(rtx, network.definition)
    assert network.definition.num_layers == before == text.count("(x)")
