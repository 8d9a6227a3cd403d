"""What one Python thread costs an image on a device whose engines and copies cost nothing.

    python -m sacvit_deploy.benchmarks.host_cost [--classes 1000] [--continue 0.23]

That is the least an image can take on the fastest device: the gate, the scheduler and the device's order of work, of
DeiT-S's sizes at 224 pixels. Decoding is not in it, nor the copy of an image to where the device reads it, which the
threads that decode make; but at batch 1, where there are none, this one does. The best of several passes, in
microseconds an image.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import click
import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.confidence import softmax
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.console.terminal import say
from sacvit_deploy.contract import engine_contract
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Stream, TensorSpec
from sacvit_deploy.item import Item
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.device import ANSWERS

BATCHES, PASSES, IMAGES, ETA = (1, 32, 128, 512), 5, 512, 0.6
DTYPES = {"float32": np.float32, "uint8": np.uint8, "int64": np.int64, "variant": np.float16}


class FreeMemory(HostMemory):
    """Host memory whose copies cost nothing.

    Answers stand in `answers` by name, [IMAGES,...] in the images' order; stage 2 gets them, too. seconds: what handing
    them out has taken, which a device does by itself. names: role and name of tensors, by their handles.
    """

    def __init__(self, answers: Mapping[str, Array]) -> None:
        super().__init__()
        self._answers = answers
        self._next: dict[tuple[str, str], int] = {}
        self.names: dict[int, tuple[str, str]] = {}
        self.seconds = 0.0

    def upload(self, target: DeviceTensor, source: Array, stream: Stream) -> None:
        """Take no time."""

    def copy(self, target: DeviceTensor, source: DeviceTensor, stream: Stream) -> None:
        """Take no time."""

    def download(self, target: Array, source: DeviceTensor, stream: Stream) -> None:
        """Give the next images' answers, or nothing for other tensors."""
        start = time.perf_counter()
        if (key := self.names.get(source.handle)) is not None:
            answers, first = self._answers[key[1]], self._next.get(key, 0)
            np.take(answers, (np.arange(len(target)) + first) % len(answers), axis=0, out=target)
            self._next[key] = first + len(target)
        self.seconds += time.perf_counter() - start


class FreeEngine:
    """An engine that does nothing, with the inputs and outputs of its role, `confidence` among them."""

    def __init__(self, role: str, config: ModelConfig, memory: FreeMemory, confidence: bool) -> None:
        contract = engine_contract(role, config)
        self._memory, self._role = memory, role
        outputs = {**contract.outputs, **(contract.optional if confidence else {})}
        self.inputs, self.outputs = (
            {
                name: TensorSpec(
                    np.dtype(DTYPES[tensor.dtype]),
                    tuple(size if isinstance(size, int) else -1 for size in tensor.shape),
                )
                for name, tensor in tensors.items()
            }
            for tensors in (contract.inputs, outputs)
        )

    def rows(self, size: int) -> int:
        return size

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Take next to no time."""
        for name in ANSWERS:
            if name in self.outputs:
                self._memory.names[tensors[name].handle] = self._role, name


class FreeDevice:
    """A device of such engines, behind the protocol `Device`."""

    max_batch, engine_sets = None, 1

    def __init__(self, config: ModelConfig, answers: Mapping[str, Array]) -> None:
        self._config, self._confidence, self.memory = config, "confidence" in answers, FreeMemory(answers)

    def engine(self, role: str, stream: Stream) -> FreeEngine:
        return FreeEngine(role, self._config, self.memory, self._confidence)


def measure(batch: int, classes: int, fraction: float, *, confidence: bool = True) -> float:
    """Return the seconds an image takes in batches of `batch`, `fraction` of which continue.

    confidence: engines give it, as those laid out for a GPU and plans do; else it is the host's to compute.
    """
    config = ModelConfig(Geometry(image_size=224, width=384, depth=12, heads=6, classes=classes))
    random = np.random.default_rng(0)
    logits = 0.01 * random.standard_normal((IMAGES, classes)).astype(np.float32)
    logits[random.permutation(IMAGES)[round(fraction * IMAGES) :], 0] = 100  # sure of the first class: they exit
    pixels = [random.integers(0, 256, (224, 224, 3)).astype(np.uint8) for _ in range(IMAGES)]
    answers = {"logits": logits}
    if confidence:
        highest = softmax(logits).max(axis=1)
        answers["confidence"] = np.stack([highest, logits.sum(axis=1)], axis=1).astype(np.float32)
    device = FreeDevice(config, answers)
    pool = ContextPool(device, config)
    count = max(IMAGES, 4 * batch)
    best = float("inf")
    for _ in range(PASSES):
        with pool.stages(24, batch) as stages:
            # As in `stream` the threads that decode put the images where a device reads them, and as in `predict` not.
            places = iter(()) if batch == 1 else stages.places(count // batch)
            items = [Item("image", next(places, pixels[number % IMAGES])) for number in range(count)]
            batches = [items[start : start + batch] for start in range(0, count, batch)]
            scheduler = Scheduler(stages, ETA, sac_batch=batch, patience=8 * batch)
            device.memory.seconds = 0.0
            start = time.perf_counter()
            stages_of_all = [answer.stage for answer in scheduler.run(batches)]
            best = min(best, time.perf_counter() - start - device.memory.seconds)
        assert len(stages_of_all) == count and stages_of_all.count(2) == round(fraction * IMAGES) * count // IMAGES
    return best / count


@click.command()
@click.option("--classes", type=click.IntRange(min=2), default=1000, show_default=True)
@click.option("--continue", "fraction", type=click.FloatRange(0, 1), default=0.23, show_default=True)
def main(classes: int, fraction: float) -> None:
    """Measure the host's cost of an image with free engines."""
    say(f"{classes} classes, {fraction:.0%} of the images continue; the host's cost of an image with free engines,")
    say("which give the highest probability themselves, or not")
    for batch in BATCHES:
        with_it, without = (1e6 * measure(batch, classes, fraction, confidence=given) for given in (True, False))
        say(f"  batch {batch:>4}  {with_it:6.1f} us  {without:6.1f} us")


if __name__ == "__main__":
    main()
