"""Open sessions of ONNX Runtime: on which provider, with how many threads, with which options."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sacvit_deploy.backends.onnxruntime.preload import NVIDIA, preload_cuda
from sacvit_deploy.backends.telemetry import silence_onnxruntime
from sacvit_deploy.bundle.external_weights import BFLOAT16, ExternalTensor, external_tensors
from sacvit_deploy.bundle.held import EngineFile, Held
from sacvit_deploy.errors import BackendError, first_line, import_library

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}
MATRIX = 2  # dimensions
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
GPU_LIBRARIES = "CUDA's come with pip install 'sacvit-deploy[gpu]', libcuda with NVIDIA's driver"
NO_ADAPTER = "Failed to get a WebGPU adapter"
NO_HALVES = "requires f16"
HINTS = {  # a part of what the library says: what to do
    "out of memory": "ask for smaller batches",
    "lost": "if the device is gone, open the model again",
    NO_HALVES: "this adapter has no fp16 shaders: take --precision fp32; bundles of the first versions, whose "
    "fp32 gather engine casts images to fp16, have to be exported again",
    NO_ADAPTER: "there is no GPU that a driver offers here, or on Linux no Vulkan loader (libvulkan1); see docs/gpu.md",
}


def load_library() -> Any:
    """Import onnxruntime, its telemetry off unless the user has it on. Raises BackendError with the install command."""
    silence_onnxruntime()
    return import_library("onnxruntime", "ONNX Runtime", "pip install onnxruntime (or onnxruntime-gpu for NVIDIA GPUs)")


def reason(error: Exception) -> str:
    """Return the first line of an error of the library without its code and the place in its source."""
    if NO_ADAPTER in str(error):  # behind a line of C++
        return NO_ADAPTER
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |\S+\.(cc|h):\d+ (virtual )?", "", first_line(error, 600))[:200]


def hint_about(error: Exception) -> str:
    """Return what can be done about an error of the library, behind a semicolon, or nothing."""
    return next((f"; {text}" for part, text in HINTS.items() if part in str(error)), "")


@contextlib.contextmanager
def calling(what: str, guard: contextlib.AbstractContextManager[Any] | None = None) -> Iterator[None]:
    """Raise BackendError, with what can be done about it, where the library fails; hold a factory's guard."""
    try:
        with guard or contextlib.nullcontext():
            yield
    except Exception as error:  # the library's own exceptions share no base class but this
        raise BackendError(f"{what} failed in ONNX Runtime ({reason(error)}){hint_about(error)}") from error


@dataclass(frozen=True)
class SessionFactory:
    """Opens sessions on one execution provider, named in full, with `threads` CPU threads a call.

    device: the library's own record of a plugin provider's device; None for a provider that is built in, whose
    options are `options`. guard: held around every call, where a device's sessions take one thread at a time.
    weights: "packed" lets a session rearrange its weights for speed, "mapped" lets it read them in place, every session
    the same bytes.
    """

    threads: int
    provider: str = CPU
    weights: str = "packed"
    device: Any = None
    options: Mapping[str, str] = field(default_factory=dict)
    guard: contextlib.AbstractContextManager[Any] = field(default_factory=contextlib.nullcontext)

    def open(
        self,
        model: EngineFile | bytes,
        weights: Held | None = None,
        provider_options: Mapping[str, str] | None = None,
        fixed: Mapping[str, int] | None = None,
    ) -> Any:
        """Open a model on this provider and no other. Raises BackendError, BundleError.

        model: a held ONNX file, whose `weights` are held, too: the library then reads nothing from the disk. Or a whole
        model in memory, or the path of a file that is of no bundle.
        fixed: sizes of open dimensions by their name, for a session that takes no others.
        """
        library = load_library()
        options = library.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4  # its exceptions say the same; the log has names of the graph as they are
        # Threads that spin while a stage runs make it a third faster at batch 1; spinning on after it, they would take
        # the cores from the other stage's session and from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # On x86 without VNNI or AMX it would add up byte products in 16 bits, which full-range weights overflow.
        options.add_session_config_entry("session.x64quantprecision", "1")
        if self.weights == "mapped":
            options.add_session_config_entry("session.disable_prepacking", "1")
        for dimension, size in (fixed or {}).items():
            options.add_free_dimension_override_by_name(dimension, size)
        # On by default on CUDA, TF32 computes products of fp32 tensors with ten bits: not what the file says. Of some
        # releases, SkipLayerNormalization sums up in half precision unless it is told not to.
        exact = {"use_tf32": "0", "enable_skip_layer_norm_strict_mode": "1"} if self.provider == CUDA else {}
        own = exact | dict(self.options) | dict(provider_options or {})
        providers = [(self.provider, own)] if self.device is None else None
        name = "a model in memory" if isinstance(model, bytes) else str(model)
        source: str | bytes = model if isinstance(model, bytes) else str(model)
        tensors: list[ExternalTensor] = []
        if isinstance(model, Held):
            name, source, tensors = str(model.path), bytes(model), external_tensors(model, weights)
        values = {tensor.name: _value(library, tensor) for tensor in tensors}
        if self.provider in NVIDIA:
            preload_cuda(library)
        try:
            with self.guard:
                if values:
                    options.add_external_initializers(list(values), list(values.values()))  # copies, which it may pack
                if self.weights == "mapped" and self.provider == CPU:  # another's own memory has a copy anyway
                    # These take the copies' place once the graph is settled: matrices alone, which no optimiser changes
                    # under their name, while it may turn or stretch what is added or multiplied by element.
                    for tensor in tensors:
                        if tensor.values.ndim == MATRIX:
                            options.add_initializer(tensor.name, values[tensor.name])
                if self.device is not None:
                    options.add_provider_for_devices([self.device], own)
                # No fallback to another provider, which it would print on stdout; before 1.23 it can't be told so.
                session = library.InferenceSession(source, options, providers=providers, enable_fallback=0)
        except Exception as error:  # the library's own exceptions share no base class but this
            raise BackendError(f"ONNX Runtime can't load {name} ({reason(error)}){hint_about(error)}") from error
        got = session.get_providers()[0]
        # The library falls back to the CPU without an error when a provider can't be loaded.
        if got != self.provider:
            remedy = f"; {GPU_LIBRARIES}" if self.provider in NVIDIA else ""
            raise BackendError(
                f"{self.provider} was asked for, but ONNX Runtime gave {got}; its libraries can't load{remedy}"
            )
        session.disable_fallback()  # of a call, by opening the model again, whose values may be gone by then
        if values:
            _return_freed_memory()
        if self.weights == "mapped":
            session.read_in_place = tensors, values  # the library knows no more than their addresses
        return session


def _return_freed_memory() -> None:
    """Give the system back what the copies of the weights took; glibc would keep it, as much again as the weights."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def _value(library: Any, tensor: ExternalTensor) -> Any:
    """Return a tensor of the library over the weights' own bytes. Raises BackendError for bfloat16 before 1.20."""
    if tensor.element_type != BFLOAT16:
        return library.OrtValue.ortvalue_from_numpy(tensor.values)
    make = getattr(library.OrtValue, "ortvalue_from_numpy_with_onnx_type", None)
    if make is None:
        raise BackendError(f"ONNX Runtime {library.__version__} can't take bfloat16 weights; install 1.20 or later")
    return make(tensor.values, BFLOAT16)
