"""The steps of the check, most valuable first, and the process that each of them is."""

from __future__ import annotations

import faulthandler
import importlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings, read_settings
from sacvit_deploy.errors import SacvitError

MARK = "gpu-check "  # begins the lines of a step's output that are JSON; all others are of libraries


@dataclass(frozen=True)
class Step:
    """A step: what it answers, the module and function that yield its rows, its time limit in seconds."""

    title: str
    module: str
    function: str
    limit: float


STEPS = {
    "facts": Step("the machine", "machine_facts", "measure", 60),
    "labels": Step("labels against fp32 on the CPU", "labels", "measure", 90),
    "product": Step("the product against the plain DeiT on the same device", "product", "measure", 150),
    "plain-layout": Step("the same, of engines laid out for no GPU", "product", "measure_plain_layout", 60),
    "recorded": Step("the same, of calls recorded as graphs", "product", "measure_recorded", 60),
    "latency": Step("one image at a time", "latency", "measure", 40),
    "stream": Step("a whole stream of JPEGs, decoding included", "whole_stream", "measure", 60),
    "shared-tensors": Step("images there already, logits that stay there", "shared_tensors", "measure", 60),
    "jpeg": Step("JPEGs decoded by Pillow, and by nvImageCodec", "jpeg_decoding", "measure", 90),
    "two-models": Step("EE and then the plain DeiT, without SAC", "two_models", "measure", 60),
    "engines": Step("every engine alone", "engines_alone", "measure", 90),
    "pytorch": Step("the plain DeiT in PyTorch, fused attention", "pytorch", "measure", 150),
    "tensorrt-rtx": Step("TensorRT-RTX", "tensorrt_once", "measure_rtx", 150),
    "tensorrt": Step("TensorRT", "tensorrt_once", "measure_tensorrt", 200),
    "int8": Step("int8 in ONNX Runtime, once", "int8_once", "measure", 90),
    "tensorrt-rtx-int8": Step("TensorRT-RTX in int8", "tensorrt_once", "measure_rtx_int8", 150),
    "tensorrt-int8": Step("TensorRT in int8", "tensorrt_once", "measure_tensorrt_int8", 200),
}


def run_step(name: str, settings: Settings) -> None:
    """Run a step in this process: a line of JSON for every row as soon as it is there, one for how it ended.

    What is missing here is an end, too; any other error is the process's.
    """
    step = STEPS[name]
    module = importlib.import_module(f"sacvit_deploy.benchmarks.gpu_check.{step.module}")
    measure: Callable[[Settings], Iterator[Row]] = getattr(module, step.function)
    try:
        for row in measure(settings):
            _tell({"row": row})
    except SacvitError as error:
        _tell({"end": "not run", "reason": str(error)})
    else:
        _tell({"end": "done"})


def _tell(message: dict[str, object]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(message)}\n")  # a library may have left a line open
    sys.stdout.flush()


if __name__ == "__main__":
    faulthandler.enable()  # where a crash was goes to stderr, which is the step's log
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # and where a hang is, before it is ended
    run_step(sys.argv[1], read_settings(sys.argv[2]))
