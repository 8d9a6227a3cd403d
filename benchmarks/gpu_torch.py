"""Plain DeiT in PyTorch, eager and compiled with CUDA graphs: the usual alternative to a deployed engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sacvit_deploy.arrays import Pixels

WARM_UP = 3  # passes that compile and record the graphs


def torch_milliseconds(
    checkpoint: Path, pixels: Pixels, batch: int, rounds: int, device: str, *, half: bool, compiled: bool
) -> list[float]:
    """Measure milliseconds per image in each round, from decoded images to logits on the host.

    compiled: by torch.compile with CUDA graphs, else eager. Raises ImportError, RuntimeError.
    """
    import torch

    from sacvit_deploy.export.checkpoint import load_checkpoint
    from sacvit_deploy.export.glue import ViewStage
    from sacvit_deploy.export.modules import PlainDeiT

    model = load_checkpoint(checkpoint).model
    dtype = torch.float16 if half else torch.float32
    view = ViewStage(model.config, dtype, whole=True).to(device)
    plain = PlainDeiT(model.to(dtype)).to(device).eval()

    def whole(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = plain(view(images))
        return logits

    network: Callable[[torch.Tensor], torch.Tensor] = whole
    if compiled:
        network = torch.compile(whole, mode="reduce-overhead")
    batches = [torch.from_numpy(pixels[at : at + batch]) for at in range(0, len(pixels), batch)]
    if device == "cuda":
        batches = [part.pin_memory() for part in batches]

    def run() -> float:
        start = time.perf_counter()
        for part in batches:
            network(part.to(device, non_blocking=True)).cpu()
        return 1000 * (time.perf_counter() - start) / len(pixels)

    with torch.inference_mode():
        for _ in range(WARM_UP):
            run()
        return [run() for _ in range(rounds)]
