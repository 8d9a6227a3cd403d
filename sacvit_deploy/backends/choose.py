"""Choose what `backend="auto"` and `precision="auto"` mean for a bundle on this machine, and say why."""

from __future__ import annotations

from collections.abc import Collection

import sacvit_deploy.backends.onnxruntime.session as onnxruntime
import sacvit_deploy.backends.openvino.backend as openvino
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.plans import list_plans
from sacvit_deploy.cpu import cpu_features
from sacvit_deploy.errors import BackendError

FAST_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")  # dot products of bytes, the fastest first


def is_cpu(provider: str | None) -> bool:
    """Whether the name of a provider, short or full, or of a backend means the CPU; None does."""
    return provider is None or provider.lower() in ("cpu", "cpuexecutionprovider", "openvino")


def choose_precision(
    available: Collection[str], device: str | None, features: Collection[str] | None = None
) -> tuple[str, str]:
    """Return the variant that `auto` means among those a bundle has, and the reason.

    CPU: int8 where the processor has instructions for it, else fp32; x86 cores compute half precision slowly, so fp16
    comes last. Elsewhere fp16. device: an execution provider or a backend, None is the CPU; features: the processor's,
    found by itself.
    """
    if not is_cpu(device):
        order, why = ("fp16", "fp32", "int8"), f"{device} computes fastest in half precision"
    else:
        fast = [feature for feature in FAST_INT8 if feature in (cpu_features() if features is None else features)]
        if fast:
            order, why = ("int8", "fp32", "fp16"), f"this processor has {fast[0]}"
        else:
            order, why = ("fp32", "int8", "fp16"), "this processor has no fast eight-bit products that are known here"
    chosen = next((precision for precision in order if precision in available), order[0])
    return chosen, why if chosen == order[0] else f"the bundle has no {order[0]} variant"


def choose_backend(bundle: Bundle) -> tuple[str, str]:
    """Return the backend that `auto` means for a bundle on this machine, and the reason.

    TensorRT where the bundle has plans that fit the library and the GPU here, else ONNX Runtime, else OpenVINO: what
    gets installed beside ONNX Runtime doesn't change an answer by itself. Raises BundleError for a damaged plan.json.
    """
    trouble = []
    for runtime in dict.fromkeys(record.place.runtime for _, record in list_plans(bundle)):
        try:
            if open_backend(runtime).precisions(bundle):
                return runtime, "the bundle has plans for this machine"
            trouble.append(f"its {runtime} plans were built for another machine or library")
        except BackendError as error:
            trouble.append(str(error))
    for name, module in (("onnxruntime", onnxruntime), ("openvino", openvino)):
        try:
            module.load_library()
        except BackendError as error:
            trouble.append(str(error))
        else:
            return name, "; ".join(trouble) or "the bundle has no plans"
    return "onnxruntime", "; ".join(trouble)
