"""ONNX Runtime behind the protocol `Backend`: engines with arrays in and out."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.plugins import (
    GUARD,
    INSTALL,
    WEBGPU,
    find_plugin,
    plugin_devices,
    same_provider,
)
from sacvit_deploy.backends.onnxruntime.row_models import rows_model
from sacvit_deploy.backends.onnxruntime.session import CUDA, DTYPES, NO_HALVES, SessionFactory, calling, load_library
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.bundle.held import EngineFile, Held
from sacvit_deploy.errors import BackendError

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device.protocol import Device

# Off by default there: positions and targets are int64, and would go to the processor and back.
PLUGIN_OPTIONS = {WEBGPU: {"enableInt64": "1"}}

BUILT_IN = ("cpu", "cuda")  # never sought among plugins


class OnnxRuntimeBackend:
    """Engines on one device: a provider that is built in, or one of a plugin package.

    named: as `parse_device` takes it. capture, device_memory: see `OnnxRuntimeDevice`.

    Raises BackendError if the library, the provider or its device is not there.
    """

    def __init__(
        self, named: str, threads: int, weights: str = "packed", capture: bool = False, device_memory: int | None = None
    ) -> None:
        self._library, device = load_library(), parse_device(named)
        self._device_memory = device_memory
        self.threads, self._number, self._capture = threads, device.number, capture
        offered = self._library.get_available_providers()
        # A plugin comes first: once it is registered the library lists it, too, but not with its devices.
        plugin = None if device.name in BUILT_IN else find_plugin(device.name)
        if plugin is None:
            self.provider = next((provider for provider in offered if same_provider(provider, device.name)), "")
            self.title = short_title(self.provider)
            if self.provider:
                self.sessions = SessionFactory(threads, self.provider, weights)
                return
            wanted = next((install for name, install in INSTALL.items() if same_provider(name, device.name)), "")
            remedy = f"; install it with: {wanted}" if wanted else f"; it offers {', '.join(offered)}"
            raise BackendError(f"this ONNX Runtime has no provider {named}{remedy}")
        devices = plugin_devices(plugin)  # and thereby registered
        if device.number >= len(devices):
            raise BackendError(
                f"{plugin.provider} has no device number {device.number} here; the last one is {len(devices) - 1}"
            )
        chosen = devices[device.number]
        self.provider = plugin.provider
        self.title = f"{short_title(plugin.provider)} on {device_title(chosen)}"
        options = PLUGIN_OPTIONS.get(plugin.provider, {})
        self.sessions = SessionFactory(threads, plugin.provider, weights, chosen, options, GUARD)

    @property
    def description(self) -> str:
        """Library, version, device and threads: `ONNX Runtime 1.20.1, CPU, 2 threads`."""
        halves = "" if self.has_fp16 else " without fp16 shaders"
        return f"ONNX Runtime {self._library.__version__}, {self.title}{halves}, {self.threads} threads"

    @cached_property
    def has_fp16(self) -> bool:
        """Tell whether the device computes in half precision: a WebGPU adapter may have no shaders for it.

        Raises BackendError where that can't be tried.
        """
        if self.provider != WEBGPU:
            return True
        half = np.zeros(2, np.float16)
        session = self.sessions.open(rows_model({"half": half.dtype}))
        try:
            with calling("a trial in half precision", self.sessions.guard):
                session.run(None, {"half": half, "indices": np.zeros(1, np.int64)})
        except BackendError as error:
            if NO_HALVES in str(error.__cause__):
                return False
            raise
        return True

    def precisions(self, bundle: Bundle) -> list[str]:
        return [name for name in bundle.manifest.variants if not self.why_not(name)]

    def files(self, bundle: Bundle, precision: str) -> dict[str, Held]:
        if why := self.why_not(precision):
            raise BackendError(f"{self.title} can't run {precision}: {why}")
        return bundle.held_files(precision, for_gpu=self.provider == CUDA)

    def why_not(self, precision: str) -> str:
        """Return why a precision can't be run here; nothing where it can."""
        if self.provider == WEBGPU and precision == "int8":
            return "this provider has no int8 products; take fp16 or fp32"
        if precision == "fp16" and not self.has_fp16:
            return "this adapter has no fp16 shaders; take fp32"
        return ""

    def device(self, files: Mapping[str, EngineFile]) -> Device | None:
        """Return the device on CUDA and WebGPU; other providers take arrays."""
        if self.provider not in (CUDA, WEBGPU):
            return None
        from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice

        return OnnxRuntimeDevice(self.sessions, files, self._number, self._capture, self._device_memory)

    def open(self, stage: EngineFile, weights: EngineFile | None) -> OnnxRuntimeEngine:
        """Open one ONNX file. Raises BackendError, BundleError."""
        held = weights if isinstance(weights, Held) else None  # a file that is opened by its path names its weights
        return OnnxRuntimeEngine(self.sessions.open(stage, held), stage.name, self.sessions.guard)


class OnnxRuntimeEngine:
    """A session behind the protocol `Engine`. name: its file's. guard: see `SessionFactory`."""

    def __init__(self, session: Any, name: str, guard: AbstractContextManager[Any]) -> None:
        self._session, self._guard = session, guard
        self._name = name
        for item in session.get_inputs():
            if item.type not in DTYPES:
                raise BackendError(f"{name} takes `{item.name}` as {item.type}, which no engine of a bundle does")
        self._dtypes = {item.name: np.dtype(DTYPES[item.type]) for item in session.get_inputs()}
        self._outputs = [item.name for item in session.get_outputs()]

    def input_dtype(self, name: str) -> np.dtype[Any]:
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        feed = as_taken(inputs, self._dtypes, self._name)
        with calling(self._name, self._guard):
            return dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))


def short_title(provider: str) -> str:
    """Return what a provider is called in a line for people: "CPU"."""
    return provider.removesuffix("ExecutionProvider")


def device_title(device: Any) -> str:
    """Return what the library's record of a device says of it: maker and kind, or the name its driver gives."""
    hardware = device.device
    kind = str(getattr(hardware.type, "name", hardware.type))
    described = hardware.metadata.get("Description", "")
    # A processor stands for a software device, whose name the provider keeps to itself.
    return described or (f"{hardware.vendor} {kind}" if kind != "CPU" else "a software device")
