"""`sacvit doctor`: what is here, without importing it."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import onnxruntime

import sacvit_deploy
from sacvit_deploy.backends.choose import choose_precision, choose_without_plans
from sacvit_deploy.commands.doctor import Trial, auto_precisions, doctor_table, try_provider, version
from sacvit_deploy.precisions import PRECISIONS


def test_json(command: Any) -> None:
    facts = json.loads(command("sacvit", "doctor", "--json").stdout)
    assert facts["sacvit_deploy"] == sacvit_deploy.__version__
    assert facts["cores"] >= 1
    assert facts["onnxruntime"]["version"] == onnxruntime.__version__
    assert facts["onnxruntime"]["providers"]["CPUExecutionProvider"] == "works"
    # Found though they can't be imported here: nothing is imported to be listed.
    assert facts["libraries"]["torch"]["version"] == importlib.metadata.version("torch")
    assert facts["openvino"]["version"] == importlib.metadata.version("openvino")
    assert facts["libraries"]["PIL"]["version"] == importlib.metadata.version("pillow")
    assert facts["device"]["auto"] == (choose_without_plans().device or "cpu") and facts["device"]["reason"]
    assert facts["precision"]["cpu"]["auto"] == choose_precision(PRECISIONS, "cpu")[0]
    # On a machine with more.
    facts["device"] = {"auto": "cuda", "reason": "ONNX Runtime has CUDA here", "before": ["tensorrt", "tensorrt-rtx"]}
    facts["precision"] = {"cpu": {"auto": "int8", "reason": "so"}, "cuda": {"auto": "fp16", "reason": "because"}}
    text = doctor_table(facts)
    told = "auto is cuda: ONNX Runtime has CUDA here; before it, tensorrt or tensorrt-rtx with a bundle's plans"
    assert told in text and "    cpu          int8: so\n    cuda         fp16: because\n" in text


def test_text(command: Any) -> None:
    done = command("sacvit", "doctor")
    assert "CPUExecutionProvider" in done.stdout
    assert "works" in done.stdout
    assert done.stderr == ""


def test_without_onnxruntime(command: Any) -> None:
    facts = json.loads(command("sacvit", "doctor", "--json", forbid=("onnxruntime",)).stdout)
    assert "pip install onnxruntime" in facts["onnxruntime"]["error"]
    assert "pip install onnxruntime" in doctor_table(facts)
    command.notes.unlink()


def test_infer_without_a_backend(command: Any, tiny_bundle: Path, easy: Path) -> None:
    nothing = ("onnxruntime", "openvino")
    done = command("sacvit-infer", easy, "--bundle", tiny_bundle, forbid=nothing, expect=1)
    assert "pip install onnxruntime" in done.stderr
    assert done.stderr.count("\n") == 1
    command.notes.unlink()


def test_infer_with_openvino_alone(command: Any, tiny_bundle: Path, easy: Path) -> None:
    done = command("sacvit-infer", easy, "--bundle", tiny_bundle, forbid=("onnxruntime",))
    assert "fp32 on OpenVINO" in done.stderr
    command.notes.unlink()


def test_openvino_asked_for_and_not_there(command: Any, tiny_bundle: Path, easy: Path) -> None:
    asked = ("--backend", "openvino")
    done = command("sacvit-infer", easy, "--bundle", tiny_bundle, *asked, forbid=("openvino",), expect=1)
    assert "pip install 'sacvit-deploy[openvino]'" in done.stderr
    facts = json.loads(command("sacvit", "doctor", "--json", forbid=("openvino",)).stdout)
    assert "sacvit-deploy[openvino]" in facts["openvino"]["error"]
    assert "sacvit-deploy[openvino]" in doctor_table(facts)
    command.notes.unlink()


def test_library_that_is_not_installed() -> None:
    assert version("no_such_library") is None


def test_providers_are_tried_not_believed() -> None:
    assert try_provider("CPUExecutionProvider") == Trial(True, "works")
    nonsense = try_provider("NonsenseExecutionProvider")
    assert nonsense.state.startswith("fails (this ONNX Runtime has no provider Nonsense") and not nonsense.works


def test_auto_is_said_for_each_device() -> None:
    """Of a CPU with byte products, and of devices that this machine may lack."""
    halves = {"fp16": "this adapter has no fp16 shaders; take fp32", "int8": "this provider has no int8 products"}
    trials = {
        "CPUExecutionProvider": Trial(True, "works"),
        "CUDAExecutionProvider": Trial(True, "works"),
        "WebGpuExecutionProvider": Trial(True, "works: a GPU", halves),
        "MIGraphXExecutionProvider": Trial(False, "fails (there is no GPU)"),
    }
    found = auto_precisions(trials, ["tensorrt"])
    assert found["cpu"]["auto"] == choose_precision(PRECISIONS, "cpu")[0]
    assert found["cuda"] == {"auto": "fp16", "reason": "cuda computes fastest in half precision"}
    assert found["webgpu"] == {"auto": "fp32", "reason": halves["fp16"]}
    assert found["tensorrt"]["auto"] == "fp16" and list(found) == ["cpu", "cuda", "webgpu", "tensorrt"]
