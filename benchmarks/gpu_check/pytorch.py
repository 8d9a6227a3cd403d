"""What people use instead: the plain DeiT in PyTorch, eager, as a CUDA graph, and compiled."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.subject import noise
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import BackendError, first_line

if TYPE_CHECKING:
    from torch import Tensor

    Call = Callable[[Tensor], Tensor]

KINDS = ("eager", "graph", "compiled")
WARM, MOST = 3, 300  # calls


def measure(settings: Settings) -> Iterator[Row]:
    """Yield a row for each batch and kind, of random weights. Raises BackendError where torch has no such device."""
    if importlib.util.find_spec("torch") is None:
        raise BackendError("torch is not installed here")
    import torch

    if not settings.on_cpu and not (settings.device.startswith("cuda") and torch.cuda.is_available()):
        raise BackendError(f"this torch, {torch.__version__}, has no {settings.device}")
    config = open_bundle(settings.speed).manifest.config
    for kind in KINDS:  # compiling takes long, and may meet the step's limit
        for batch in settings.batches:
            try:
                with torch.no_grad():  # not over the `yield`: it would hold for whoever takes the row
                    row = measure_kind(settings, config, batch, kind)
            except (RuntimeError, BackendError) as error:  # out of memory; no compiler for the compiled one
                row = {"why not": first_line(error)}
            yield {"batch": batch, "kind": kind, **row}


def measure_kind(settings: Settings, config: ModelConfig, batch: int, kind: str) -> Row:
    """Return milliseconds a call: on the device alone, and from pictures in pinned memory to logits on the host."""
    import torch

    from sacvit_deploy.benchmarks.gpu_check.fused_deit import FusedDeiT
    from sacvit_deploy.export.modules import random_model

    half = settings.precision == "fp16" and not settings.on_cpu
    network = FusedDeiT(random_model(config), torch.float16 if half else torch.float32).to(settings.device)
    pictures = torch.from_numpy(noise(config, batch))
    if not settings.on_cpu:
        pictures = pictures.pin_memory()
    there = pictures.to(settings.device)
    start = time.perf_counter()
    call = prepare(network, there, kind, on_cpu=settings.on_cpu)
    for _ in range(WARM):
        call(there)

    def from_host() -> None:
        call(pictures.to(settings.device, non_blocking=True)).cpu()

    from_host()
    ready = time.perf_counter() - start
    alone, whole = (timed(run, settings) for run in (lambda: call(there), from_host))
    return {
        "precision": "fp16" if half else "fp32",
        "device ms": 1000 * alone,
        "images/s": batch / whole,
        "with copies ms": 1000 * whole,
        "ready in s": ready,
    }


def prepare(network: Call, there: Tensor, kind: str, *, on_cpu: bool) -> Call:
    """Return a network as one of KINDS. there: pictures on the device. Raises BackendError."""
    import torch

    if kind == "eager":
        return network
    if kind == "compiled":
        torch.compiler.reset()
        # On the CPU it is only traced: compiling takes a C++ compiler, and says nothing of a GPU.
        if on_cpu:
            return torch.compile(network, dynamic=False, backend="eager")
        compiled = torch.compile(network, dynamic=False, mode="reduce-overhead")

        def step(pictures: Tensor) -> Tensor:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            answer: Tensor = compiled(pictures)
            return answer

        return step
    if on_cpu:
        raise BackendError("CUDA graphs need CUDA")
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM):
            network(there)
    torch.cuda.current_stream().wait_stream(side)
    graph, kept = torch.cuda.CUDAGraph(), there.clone()
    with torch.cuda.graph(graph):
        logits = network(kept)

    def replay(pictures: Tensor) -> Tensor:
        if pictures is not there:
            kept.copy_(pictures)
        graph.replay()
        return logits

    return replay


def timed(call: Callable[[], object], settings: Settings) -> float:
    """Return the seconds of a call: the best of three rounds."""
    import torch

    def wait() -> None:
        if not settings.on_cpu:
            torch.cuda.synchronize()

    def many(count: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        return (time.perf_counter() - start) / count

    count = int(min(MOST, max(3, settings.seconds / many(1))))
    return min(many(count) for _ in range(3))
