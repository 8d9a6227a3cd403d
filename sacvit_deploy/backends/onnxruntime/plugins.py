"""Execution providers that come as packages of their own, registered with ONNX Runtime when they are asked for."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from dataclasses import dataclass
from typing import Any

from sacvit_deploy.backends.onnxruntime.session import CUDA, load_library
from sacvit_deploy.errors import BackendError, first_line

WEBGPU = "WebGpuExecutionProvider"
PREFIX = "onnxruntime_ep_"  # of the import names of such packages
# onnxruntime-ep-webgpu 0.4 runs the engines on 1.27 to 1.32; on 1.24.4 it registers, up to 1.26 it can't make a kernel.
OLDEST = (1, 27)
INSTALL = {
    WEBGPU: "pip install 'sacvit-deploy[webgpu]'",
    CUDA: "pip uninstall onnxruntime && pip install 'sacvit-deploy[gpu]'",  # the two packages share a folder
}
# Why a provider whose library is there may see no device.
NO_DEVICE = {
    WEBGPU: "it needs a GPU and its driver, on Linux the Vulkan loader, too (libvulkan1); to try it without a GPU see "
    "docs/gpu.md"
}
# WebGPU's sessions share one device and one queue, which more than one thread at a time breaks.
GUARD = threading.RLock()
_registered: dict[str, str] = {}  # library path by provider
_lock = threading.Lock()


@dataclass(frozen=True)
class Plugin:
    """An installed package with a provider: its import name, the provider's name, its library's path."""

    package: str
    provider: str
    library: str


def installed_plugins() -> list[Plugin]:
    """List the packages with providers that are installed here; those that can't be asked are left out."""
    found = []
    for package in sorted(module.name for module in pkgutil.iter_modules() if module.name.startswith(PREFIX)):
        try:
            module = importlib.import_module(package)
            found.append(Plugin(package, str(module.get_ep_name()), str(module.get_library_path())))
        except Exception:  # whatever a package of somebody else's raises
            continue
    return found


def short_name(provider: str) -> str:
    """Return a provider's name without its suffix, in small letters: "webgpu"."""
    return provider.removesuffix("ExecutionProvider").lower()


def find_plugin(name: str) -> Plugin | None:
    """Return the installed plugin of a provider, named in full or in short, in any case."""
    return next((plugin for plugin in installed_plugins() if same_provider(plugin.provider, name)), None)


def same_provider(provider: str, name: str) -> bool:
    """Tell whether a name, in full or in short, in any case, means a provider."""
    return short_name(provider) == name.lower().removesuffix("executionprovider")


def devices_of(provider: str) -> list[Any]:
    """List the library's devices of a provider whose name is given in full; none before it is registered."""
    library = load_library()
    listed = getattr(library, "get_ep_devices", None)
    return [] if listed is None else [device for device in listed() if device.ep_name == provider]


def plugin_devices(plugin: Plugin) -> list[Any]:
    """Register a plugin, once in a process, and list its devices. Raises BackendError where there is none."""
    library = load_library()
    version = tuple(int(part) for part in library.__version__.split(".")[:2])
    if version < OLDEST:
        raise BackendError(
            f"{plugin.provider} needs ONNX Runtime {'.'.join(map(str, OLDEST))} or later, and this is "
            f"{library.__version__}: pip install --upgrade onnxruntime"
        )
    with _lock:
        if plugin.provider not in _registered:
            try:
                library.register_execution_provider_library(plugin.package, plugin.library)
            except Exception as error:  # the library's own exceptions share no base class but this
                raise BackendError(f"{plugin.package} can't be registered ({first_line(error)})") from error
            _registered[plugin.provider] = plugin.library
    devices = devices_of(plugin.provider)
    if not devices:
        why = NO_DEVICE.get(plugin.provider, "see its package's requirements")
        raise BackendError(f"{plugin.provider} sees no device here; {why}")
    return devices
