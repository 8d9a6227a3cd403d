"""Choose what `backend="auto"` and `precision="auto"` mean for a bundle on this machine, and say why."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import sacvit_deploy.backends.onnxruntime.session as onnxruntime
import sacvit_deploy.backends.openvino.backend as openvino
from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.row_models import add_model
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.plans import list_plans
from sacvit_deploy.cpu import cpu_features
from sacvit_deploy.errors import BackendError
from sacvit_deploy.precisions import preferred


def choose_precision(
    available: Collection[str], device: str | None, features: Collection[str] | None = None
) -> tuple[str, str]:
    """Return the variant that `auto` means among those a bundle has, and the reason.

    CPU: int8 where it has instructions for it, else fp32. Elsewhere fp16. device: as `parse_device` takes it, or a
    backend; features: the CPU's, read from the system unless given.
    """
    on_cpu = parse_device(device).is_cpu
    known = cpu_features() if features is None and on_cpu else features or ()
    chosen, first, feature = preferred(available, on_cpu=on_cpu, features=known)
    if chosen != first:
        return chosen, f"the bundle has no {first} variant that runs here"
    if not on_cpu:
        return chosen, f"{device} computes fastest in half precision"
    if feature:
        return chosen, f"this CPU has {feature}"
    return chosen, "this CPU has no fast int8 products that are known here"


class Choice(NamedTuple):
    """What `auto` means: a backend, a device of it (None is its own first), and the reason."""

    backend: str
    device: str | None
    reason: str


def choose_backend(bundle: Bundle) -> Choice:
    """Return what `auto` means for a bundle on this machine.

    TensorRT where the bundle has plans that fit the library and the GPU here, else ONNX Runtime, on CUDA where that
    really opens a session, else OpenVINO: what gets installed beside ONNX Runtime doesn't change an answer by itself.
    Raises BundleError for a damaged plan.json.
    """
    trouble = []
    for runtime in dict.fromkeys(record.place.runtime for _, record in list_plans(bundle)):
        try:
            if open_backend(runtime).precisions(bundle):
                return Choice(runtime, None, "the bundle has plans for this machine")
            trouble.append(f"its {runtime} plans were built for another machine or library")
        except BackendError as error:
            trouble.append(str(error))
    choice = choose_without_plans()
    reasons = [*trouble, *filter(None, [choice.reason])]
    return choice._replace(reason="; ".join(reasons) or "the bundle has no plans")


def choose_without_plans() -> Choice:
    """Return what `auto` means for a bundle that has no plans for this machine.

    The reason is empty where nothing but ONNX Runtime on the CPU is here to be chosen.
    """
    trouble = []
    try:
        library = onnxruntime.load_library()
    except BackendError as error:
        trouble.append(str(error))
    else:
        if onnxruntime.CUDA in library.get_available_providers():
            try:
                onnxruntime.SessionFactory(1, onnxruntime.CUDA).open(add_model())
            except BackendError as error:
                trouble.append(str(error))
            else:
                return Choice("onnxruntime", "cuda", "ONNX Runtime has CUDA here")
        return Choice("onnxruntime", None, "; ".join(trouble))
    try:
        openvino.load_library()
    except BackendError as error:
        trouble.append(str(error))
    else:
        return Choice("openvino", None, "; ".join(trouble))
    return Choice("onnxruntime", None, "; ".join(trouble))
