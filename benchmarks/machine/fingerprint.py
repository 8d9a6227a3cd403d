"""Fingerprint of the machine: enough to recognise its kind again, nothing that names its owner."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import sacvit_deploy
from sacvit_deploy.cpu import cpu_features, usable_cores

LIBRARIES = (
    "numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13", "simplejpeg",
)  # fmt: skip


def fingerprint() -> dict[str, Any]:
    """Describe the machine and the software on it. `id` depends on the hardware alone."""
    cpuinfo = _read("/proc/cpuinfo")
    model = re.search(r"^(?:model name|Hardware|Processor)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    hardware: dict[str, Any] = {
        "cpu": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "features": cpu_features(),
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)),
        "memory_gb": round(int(memory[1]) / 2**20, 1) if memory else None,
        "gpus": [name for _, name in nvidia_gpus()[1]],
    }
    versions = {"sacvit-deploy": sacvit_deploy.__version__}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "id": hashlib.sha256(json.dumps(hardware, sort_keys=True).encode()).hexdigest()[:12],
        **hardware,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "python": platform.python_version(),
        "libraries": versions,
        "load": load_average(),
    }


def load_average() -> float | None:
    """Return the mean number of busy threads in the last minute, where the system reports it."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def nvidia_gpus() -> tuple[Any, list[tuple[Any, str]]]:
    """Return `pynvml`, and its handle and name of every GPU; no GPUs without the library or its driver."""
    try:
        import pynvml
    except ImportError:
        return None, []
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = [pynvml.nvmlDeviceGetName(handle) for handle in handles]
    except pynvml.NVMLError:
        return pynvml, []
    return pynvml, [(gpu, os.fsdecode(name)) for gpu, name in zip(handles, names, strict=True)]


def describe_machine(machine: dict[str, Any]) -> str:
    """Format a fingerprint as one line."""
    kind = ", a virtual machine" if machine["virtual"] else ""
    parts = [f"{machine['cpu']}{kind}", f"{machine['cores']} cores"]
    if machine["memory_gb"]:
        parts.append(f"{machine['memory_gb']:.0f} GiB")
    return "; ".join([*parts, *machine["gpus"]])


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
