"""A GPU in software: SwiftShader's Vulkan, which Debian's chromium brings, for ONNX Runtime's WebGPU provider.

    apt-get install chromium libvulkan1

Times on it mean nothing. It has no fp16 shaders.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import tempfile
from pathlib import Path

DRIVERS = ("/usr/lib/chromium/vk_swiftshader_icd.json", "/usr/lib/chromium-browser/vk_swiftshader_icd.json")


def driver() -> str | None:
    """Return the file that tells Vulkan of SwiftShader, if it is here; VK_ICD_FILENAMES names another one."""
    named = os.environ.get("VK_ICD_FILENAMES")
    return next((path for path in (named, *DRIVERS) if path and Path(path).is_file()), None)


def why_not() -> str:
    """Return why there is no software GPU here; nothing where there is one."""
    if importlib.util.find_spec("onnxruntime_ep_webgpu") is None:
        return "onnxruntime-ep-webgpu is not installed: WebGPU is NOT TESTED"
    if driver() is None:
        return "there is no SwiftShader here (apt-get install chromium libvulkan1): WebGPU is NOT TESTED"
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        return "there is no Vulkan loader here (apt-get install libvulkan1): WebGPU is NOT TESTED"
    return ""


def environment() -> dict[str, str]:
    """Return the variables that let the provider find the software GPU; they must stand before it is registered."""
    found = driver()
    assert found is not None
    runtime = os.environ.get("XDG_RUNTIME_DIR") or tempfile.mkdtemp(prefix="runtime-")
    return {"VK_ICD_FILENAMES": found, "XDG_RUNTIME_DIR": runtime, "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1"}
