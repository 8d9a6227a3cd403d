"""What one Python thread costs an image on a device whose engines and copies cost nothing.

    python -m sacvit_deploy.benchmarks.host_cost [--classes 1000] [--continue 0.23]

That is the least an image can take on the fastest device: stacking images for the upload, softmax and gate, the
scheduler and the device's order of work, of DeiT-S's sizes at 224 pixels. Decoding is not in it. The best of several
passes, in microseconds an image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import click
import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.terminal import say
from sacvit_deploy.contract import engine_contract
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Stream, TensorSpec
from sacvit_deploy.scheduler import Item, Scheduler
from sacvit_deploy.stages.context_pool import ContextPool

BATCHES, PASSES, IMAGES, ETA = (1, 32, 128, 512), 5, 512, 0.6
DTYPES = {"float32": np.float32, "uint8": np.uint8, "int64": np.int64, "variant": np.float16}


class FreeMemory(HostMemory):
    """Host memory whose copies cost nothing. Stage 1's logits [IMAGES,C] stand in `logits`, in the images' order."""

    def __init__(self, logits: Array) -> None:
        super().__init__()
        self._logits, self._next = logits, 0

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        """Take no time."""

    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Stream) -> None:
        """Take no time."""

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        """Give the next images' logits; copying those is the one thing a real download does, too."""
        if target.shape[-1] == self._logits.shape[1]:
            rows = (np.arange(len(target)) + self._next) % len(self._logits)
            self._next += len(target)
            np.take(self._logits, rows, axis=0, out=target)


class FreeEngine:
    """An engine that does nothing, with the inputs and outputs of its role."""

    def __init__(self, role: str, config: ModelConfig) -> None:
        contract = engine_contract(role, config)
        self.inputs, self.outputs = (
            {
                name: TensorSpec(
                    np.dtype(DTYPES[tensor.dtype]),
                    tuple(size if isinstance(size, int) else -1 for size in tensor.shape),
                )
                for name, tensor in tensors.items()
            }
            for tensors in (contract.inputs, contract.outputs)
        )

    def rows(self, size: int) -> int:
        return size

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Take no time."""


class FreeDevice:
    """A device of such engines, behind the protocol `Device`."""

    max_batch, engine_sets = None, 1

    def __init__(self, config: ModelConfig, logits: Array) -> None:
        self._config, self.memory = config, FreeMemory(logits)

    def engine(self, role: str, stream: Stream) -> FreeEngine:
        return FreeEngine(role, self._config)


def measure(batch: int, classes: int, fraction: float) -> float:
    """Return the seconds an image takes in batches of `batch`, `fraction` of which continue."""
    config = ModelConfig(Geometry(image_size=224, width=384, depth=12, heads=6, classes=classes))
    random = np.random.default_rng(0)
    logits = random.standard_normal((IMAGES, classes)).astype(np.float32)
    logits[random.permutation(IMAGES)[round(fraction * IMAGES) :], 0] = 100  # sure of the first class: they exit
    pixels = [random.integers(0, 256, (224, 224, 3)).astype(np.uint8) for _ in range(IMAGES)]
    pool = ContextPool(FreeDevice(config, logits), config)
    count = max(IMAGES, 4 * batch)
    best = float("inf")
    for _ in range(PASSES):
        items = [Item("image", pixels[number % IMAGES]) for number in range(count)]
        batches = [items[start : start + batch] for start in range(0, count, batch)]
        with pool.stages(24, batch) as stages:
            scheduler = Scheduler(stages, ETA, sac_batch=batch, patience=8 * batch)
            start = time.perf_counter()
            answers = sum(1 for _ in scheduler.run(batches))
            best = min(best, time.perf_counter() - start)
        assert answers == count
    return best / count


@click.command()
@click.option("--classes", type=click.IntRange(min=2), default=1000, show_default=True)
@click.option("--continue", "fraction", type=click.FloatRange(0, 1), default=0.23, show_default=True)
def main(classes: int, fraction: float) -> None:
    """Measure the host's cost of an image with free engines."""
    say(f"{classes} classes, {fraction:.0%} of the images continue; the host's cost of an image with free engines")
    for batch in BATCHES:
        say(f"  batch {batch:>4}  {1e6 * measure(batch, classes, fraction):6.1f} us")


if __name__ == "__main__":
    main()
