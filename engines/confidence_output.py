"""The output `confidence` of a plan: a few layers behind the logits of a network that has none."""

from __future__ import annotations

from typing import Any

from sacvit_deploy.backends.tensorrt.library import Library

LOGITS, CONFIDENCE = "logits", "confidence"
CLASSES = 1 << 1  # the axes of [B,C] as a bit mask: the second one


def add_confidence(library: Library, definition: Any) -> None:
    """Let a network that gives `logits` [B,C] fp32 give `confidence` [B,2] fp32, too, unless it does.

    The highest probability and the sum of the logits, as the engines laid out for ONNX Runtime give them
    (`GpuModule.classify` in `export/gpu_layout.py`), so that the host takes no softmax. Networks are strongly typed, so
    these layers compute in fp32 in every precision. Other networks stay as they are.
    """
    outputs = {tensor.name: tensor for tensor in map(definition.get_output, range(definition.num_outputs))}
    if LOGITS not in outputs or CONFIDENCE in outputs:
        return
    operations, logits = library.trt.ReduceOperation, outputs[LOGITS]
    softmax = definition.add_softmax(logits)
    softmax.axes = CLASSES
    highest = definition.add_reduce(_output(softmax), operations.MAX, CLASSES, True)
    total = definition.add_reduce(logits, operations.SUM, CLASSES, True)
    joined = definition.add_concatenation([_output(highest), _output(total)])
    joined.axis = 1
    confidence = _output(joined)
    confidence.name = CONFIDENCE
    definition.mark_output(confidence)


def _output(layer: Any) -> Any:
    """Return a layer's only output."""
    return layer.get_output(0)
