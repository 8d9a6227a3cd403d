"""The layout's fp32 twin on a GPU in software: ONNX Runtime's WebGPU provider against its CPU one.

Half precision is not run here: that GPU has no shaders for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from sacvit_deploy.export.gpu_layout import GpuDeiT, GpuEE, GpuSAC
from sacvit_deploy.export.graph import trace
from tests import software_gpu

from .making import config_of, lively_model

# A process of its own: the provider's Vulkan loader reads the environment, and ends processes where drivers do.
PROGRAM = """
import json, sys
import numpy as np, onnxruntime, onnxruntime_ep_webgpu as webgpu
onnxruntime.register_execution_provider_library("webgpu", webgpu.get_library_path())
device = next(d for d in onnxruntime.get_ep_devices() if d.ep_name == webgpu.get_ep_name())
width, targets, rng = int(sys.argv[2]), 24, np.random.default_rng(0)
draw = lambda *shape: rng.standard_normal((2, *shape)).astype(np.float32)
feeds = {
    "ee": {"image": draw(3, 112, 112)},
    "sac": {
        "patches": draw(4 * targets, 768), "positions": np.tile(np.arange(4 * targets), (2, 1)),
        "target_features": draw(targets, width), "background": draw(49 - targets, width),
    },
    "deit": {"image": draw(3, 224, 224)},
}
far = {}
for role, feed in feeds.items():
    path = f"{sys.argv[1]}/{role}.onnx"
    cpu = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices([device], {})
    options.enable_profiling, options.profile_file_prefix = True, f"{sys.argv[1]}/{role}"
    gpu = onnxruntime.InferenceSession(path, options)
    names = [output.name for output in cpu.get_outputs()]
    pairs = zip(names, cpu.run(names, feed), gpu.run(names, feed))
    far |= {f"{role} {name}": float(np.abs(a - b).max() / np.abs(a).max()) for name, a, b in pairs}
    with open(gpu.end_profiling()) as file:
        nodes = [event["args"] for event in json.load(file) if event["name"].endswith("_kernel_time")]
    host = [n["op_name"] for n in nodes if n["provider"] == "CPUExecutionProvider" or "Memcpy" in n["op_name"]]
    far[f"{role} on the host"] = sorted(set(host))
print(json.dumps(far))
"""
SHAPES = {"Add", "Concat", "Mod", "Mul", "Reshape", "Shape", "Squeeze"}  # arithmetic on sizes
WIDTH, HEADS = 54, 3  # heads of 18 channels: those of 4, 8, ... go through a kernel that is wrong on SwiftShader


@pytest.mark.slow
@pytest.mark.skipif(bool(software_gpu.why_not()), reason=software_gpu.why_not() or "-")
def test_the_fp32_twin_on_a_gpu(tmp_path: Path) -> None:
    model = lively_model(config_of(width=WIDTH, heads=HEADS, depth=3))
    for engine in (GpuEE(model), GpuSAC(model), GpuDeiT(model)):
        (tmp_path / f"{engine.role}.onnx").write_bytes(ir.to_proto(trace(engine)).SerializeToString())
    env = {**os.environ, **software_gpu.environment()}
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), str(WIDTH)]
    done = subprocess.run(program, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    far = json.loads(done.stdout.splitlines()[-1])
    host = {name: set(far.pop(name)) for name in list(far) if name.endswith("host")}
    assert len(far) == 9 and max(far.values()) < 1e-4, far
    # Of the graph, the host does nothing but arithmetic on sizes, and nothing is copied for it.
    assert all(kinds <= SHAPES for kinds in host.values()), host
