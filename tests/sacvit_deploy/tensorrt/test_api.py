"""Do TensorRT 10 and 11 have what the code calls? Their names alone are checked: no plan is built or run by them here.

The run-time half comes from the lean wheels of 10 and 11, imported for real; the builder of 10 from its published
types; TensorRT-RTX is there whole. 11's builder has no public types yet; RTX's, of the same generation, stands for it.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import sacvit_deploy

ROOT = Path(sacvit_deploy.__file__).parent
SOURCES = [*(ROOT / "backends" / "tensorrt").glob("*.py"), *(ROOT / "engines").glob("*.py")]
WHEELS = Path(sys.prefix) / "tensorrt"
# What the code calls an object of each class.
RUN_TIME = {"engine": "ICudaEngine", "_engine": "ICudaEngine", "context": "IExecutionContext", "_runtime": "Runtime"}
BUILDER = {
    "builder": "Builder",
    "definition": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "config": "IBuilderConfig",
    "inspector": "EngineInspector",
    "layer": "ILayer",
    "softmax": "ISoftMaxLayer",
    "joined": "IConcatenationLayer",
    "operations": "ReduceOperation",
}
RTX = {"runtime_config": "IRuntimeConfig", "_cache": "IRuntimeCache"}  # classes that TensorRT-RTX alone is asked for
# Of one kind of library alone; compat.py asks before it calls them.
OPTIONAL = {
    "ICudaEngine": {"device_memory_size", "create_runtime_config"},
    "IExecutionContext": {"device_memory"},
    "IBuilderConfig": {"num_compute_capabilities", "set_compute_capability"},
}
OURS = {
    "engine": {"plan"},
    "layer": {"get"},
    "profile": {"values", "items"},
    "definition": set(),
    "config": {"geometry", "num_targets", "window"},
}


def called() -> dict[str, set[str]]:
    """Attributes by class, found in the sources by the names of variables."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            kind = (RUN_TIME | BUILDER | RTX).get(owner)
            if kind and node.attr not in OURS.get(owner, set()):
                found[kind].add(node.attr)
    return {kind: names - OPTIONAL.get(kind, set()) for kind, names in found.items()}


CALLED = called()


def test_the_search_finds_what_it_should() -> None:
    assert {"execute_async_v3", "set_input_shape", "set_tensor_address"} <= CALLED["IExecutionContext"]
    assert "deserialize_cuda_engine" in CALLED["Runtime"]
    assert {"get_tensor_profile_shape", "num_io_tensors"} <= CALLED["ICudaEngine"]
    assert {"set_memory_pool_limit", "clear_flag", "set_timing_cache"} <= CALLED["IBuilderConfig"]
    assert "build_serialized_network" in CALLED["Builder"]
    assert {"set_runtime_cache", "cuda_graph_strategy"} <= CALLED["IRuntimeConfig"]
    assert CALLED["IRuntimeCache"] == {"serialize", "deserialize"}
    assert {"add_softmax", "add_reduce", "mark_output"} <= CALLED["INetworkDefinition"]


@pytest.mark.parametrize("version", ["10", "11"])
def test_the_run_time_of_each_version(version: str) -> None:
    folder = WHEELS / version
    if not folder.exists():
        pytest.skip(f"the wheels of TensorRT {version}'s run time are not there (make test installs them)")
    wanted = {kind: sorted(CALLED[kind]) for kind in set(RUN_TIME.values())}
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "import tensorrt_lean_bindings as trt\n"
        "wanted = json.loads(sys.argv[2])\n"
        "missing = [f'{k}.{n}' for k, names in wanted.items() for n in names if not hasattr(getattr(trt, k), n)]\n"
        "missing += [n for n in ('FLOAT', 'HALF', 'INT64', 'UINT8') if n not in trt.DataType.__members__]\n"
        "missing += [n for n in ['USER_MANAGED'] if n not in trt.ExecutionContextAllocationStrategy.__members__]\n"
        "missing += [n for n in ('ERROR', 'INTERNAL_ERROR') if n not in trt.ILogger.Severity.__members__]\n"
        "print(json.dumps([trt.__version__, missing]))"
    )
    command = [sys.executable, "-c", code, str(folder), json.dumps(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found, missing = json.loads(done.stdout.splitlines()[-1])
    assert found.startswith(f"{version}.")
    assert missing == []


def test_tensorrt_10s_builder_by_its_published_types() -> None:
    path = WHEELS / "stubs" / "tensorrt_bindings" / "tensorrt.pyi"
    if not path.exists():
        pytest.skip("the types of TensorRT 10 are not there (make test installs them)")
    # The file has signatures that Python can't parse, so names are looked for line by line.
    blocks = re.split(r"^class (\w+)", path.read_text(), flags=re.MULTILINE)[1:]
    classes = dict(zip(blocks[::2], blocks[1::2], strict=True))
    for kind, names in CALLED.items():
        if kind in RTX.values():
            continue
        known = set(re.findall(r"^    (?:def )?(\w+)(?=\(|:)", classes[kind], flags=re.MULTILINE))
        assert names - known == set(), kind


def test_tensorrt_rtx_whole() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheel for this platform")
    for kind, names in CALLED.items():
        assert [name for name in names if not hasattr(getattr(trt, kind), name)] == [], kind
    # What it says of the bytes of a runtime cache, which can't be made without a GPU.
    assert "blob: typing_extensions.Buffer) -> bool" in trt.IRuntimeCache.deserialize.__doc__
    assert trt.IRuntimeCache.serialize.__doc__.splitlines()[0].endswith("IHostMemory")
    for kind, optional in OPTIONAL.items():
        assert hasattr(getattr(trt, kind), next(iter(optional))) or optional
