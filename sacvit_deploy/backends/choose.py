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
from sacvit_deploy.precisions import preferred


def is_cpu(provider: str | None) -> bool:
    """Tell whether the name of a provider, short or full, or of a backend means the CPU; None does."""
    return provider is None or provider.lower() in ("cpu", "cpuexecutionprovider", "openvino")


def choose_precision(
    available: Collection[str], device: str | None, features: Collection[str] | None = None
) -> tuple[str, str]:
    """Return the variant that `auto` means among those a bundle has, and the reason.

    CPU: int8 where it has instructions for it, else fp32. Elsewhere fp16. device: an execution provider or a backend,
    None is the CPU; features: the CPU's, read from the system unless given.
    """
    on_cpu = is_cpu(device)
    known = cpu_features() if features is None and on_cpu else features or ()
    chosen, first, feature = preferred(available, on_cpu=on_cpu, features=known)
    if chosen != first:
        return chosen, f"the bundle has no {first} variant"
    if not on_cpu:
        return chosen, f"{device} computes fastest in half precision"
    if feature:
        return chosen, f"this CPU has {feature}"
    return chosen, "this CPU has no fast int8 products that are known here"


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
