"""Which variant `precision="auto"` means on this machine, and why."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm", "fphp")
FAST_INT8 = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")  # dot products of bytes, the fastest first


def cpu_features() -> list[str]:
    """The instruction sets that matter for reduced precision, where Linux tells."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [feature for feature in FEATURES if feature in words]


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
