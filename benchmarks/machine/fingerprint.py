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
    hardware: dict[str, Any] = {
        "cpu": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "features": cpu_features(),
        "virtual": bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE)),
        "memory_gb": memory_gb(),
        "gpus": gpus(),
    }
    return {
        "id": hashlib.sha256(json.dumps(hardware, sort_keys=True).encode()).hexdigest()[:12],
        **hardware,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        "python": platform.python_version(),
        "libraries": {"sacvit-deploy": sacvit_deploy.__version__, **versions()},
        "load": load(),
    }


def load() -> float | None:
    """Return the mean number of busy threads in the last minute, where the system reports it."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def memory_gb() -> float | None:
    """Return the machine's memory in GiB."""
    total = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return round(int(total[1]) / 2**20, 1) if total else None


def versions() -> dict[str, str]:
    """Return the versions of the installed libraries."""
    installed = {}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[name] = importlib.metadata.version(name)
    return installed


def gpus() -> list[str]:
    """Return the names of NVIDIA GPUs, where `pynvml` is installed."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = [pynvml.nvmlDeviceGetName(handle) for handle in handles]
    except pynvml.NVMLError:
        return []
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]


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
