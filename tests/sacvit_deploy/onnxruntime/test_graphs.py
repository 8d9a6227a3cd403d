"""CUDA graphs of ONNX Runtime's calls against a stand-in for CUDA. NOT RUN on a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from sacvit_deploy import UsageError
from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.graphs import CALLS, RepeatingSession
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.device import cuda as bindings
from sacvit_deploy.device.protocol import DeviceTensor, Stream, TensorSpec, batch_shape
from tests.sacvit_deploy.tensorrt.stand_ins import Cuda, Memory

SPECS = {"image": TensorSpec(np.dtype(np.float32), (-1, 3)), "index": TensorSpec(np.dtype(np.int64), (-1,))}


class Doubling:
    """An engine: image [B,3] doubled, and the index of its largest. wrong: what a graph of it adds to that."""

    def __init__(self, cuda: Cuda, memory: Memory) -> None:
        self._cuda, self._memory = cuda, memory
        self.inputs = {"image": SPECS["image"]}
        self.outputs = {"twice": SPECS["image"], "index": SPECS["index"]}
        self.calls, self.wrong, self.idle = 0, 0.0, False

    def rows(self, size: int) -> int:
        return size

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        self.calls += 1
        wrong = self.wrong if self._cuda.capturing is not None else 0.0
        idle = self.idle and self._cuda.capturing is not None
        bound = dict(tensors)

        def work() -> None:
            if idle:
                return
            image = np.empty(bound["image"].shape, np.float32)
            self._memory.download(image, bound["image"], None)
            self._memory.upload(bound["twice"], (2 * image + wrong).astype(np.float32), None)
            self._memory.upload(bound["index"], image.argmax(axis=1), None)

        self._cuda.queue(work)


class Setup:
    """The engine, recorded, and tensors for calls."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda, self.memory = cuda, Memory(cuda)
        self.plain = Doubling(cuda, self.memory)
        self.session = RepeatingSession(self.plain, "ee.onnx", self.memory, 1)
        self.rng = np.random.default_rng(0)

    def tensors(self, rows: int) -> dict[str, DeviceTensor]:
        specs = {**self.plain.inputs, **self.plain.outputs}
        return {name: self.memory.allocate(batch_shape(spec, rows), spec.dtype) for name, spec in specs.items()}

    def call(self, tensors: Mapping[str, DeviceTensor]) -> None:
        """Run once on other numbers, and check what comes out."""
        image: Array = self.rng.standard_normal(tensors["image"].shape).astype(np.float32)
        self.memory.upload(tensors["image"], image, None)
        self.session.enqueue(tensors, 1)
        twice, index = np.empty_like(image), np.empty(len(image), np.int64)
        self.memory.download(twice, tensors["twice"], None)
        self.memory.download(index, tensors["index"], None)
        np.testing.assert_array_equal(twice, 2 * image)
        np.testing.assert_array_equal(index, image.argmax(axis=1))


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    cuda = Cuda()
    monkeypatch.setattr(bindings, "load_library", lambda: cuda)
    setup = Setup(cuda)
    yield setup
    setup.session._wait()
    del setup.session
    assert cuda.broken == []


def test_what_repeats_is_recorded_proven_and_launched(setup: Setup) -> None:
    """Two sets of buffers in turn, as the stages have them."""
    slots = [setup.tensors(4), setup.tensors(4)]
    for number in range(10):
        setup.call(slots[number % 2])
    # Of each: two runs, one of them recorded behind it, a third beside its graph, and two launches.
    assert (setup.plain.calls, setup.session.launched, setup.cuda.launched) == (8, 4, 6)


def test_what_does_not_repeat_is_not_recorded(setup: Setup) -> None:
    for rows in range(1, 6):
        setup.call(setup.tensors(rows))
    assert (setup.plain.calls, setup.cuda.graphs) == (5, {})


def test_graphs_go_with_the_calls_that_were_used_least_recently(setup: Setup) -> None:
    everything = [setup.tensors(1 + number) for number in range(CALLS + 1)]
    for tensors in everything:
        for _ in range(4):
            setup.call(tensors)
    assert len(setup.cuda.graphs) == CALLS and setup.session.launched == CALLS + 1
    setup.call(everything[1])
    assert setup.session.launched == CALLS + 2


@pytest.mark.parametrize("how", ["wrong", "idle"])
def test_a_graph_that_gives_something_else_is_not_taken(setup: Setup, how: str) -> None:
    """Nor one that does nothing, while the call before it has left the right answer."""
    setattr(setup.plain, how, 1.0)
    tensors = setup.tensors(3)
    setup.call(tensors)
    setup.call(tensors)
    with pytest.warns(RuntimeWarning, match=r"ee\.onnx runs without CUDA graphs, more slowly: a recorded call gave"):
        setup.call(tensors)
    for _ in range(3):
        setup.call(tensors)
    assert (setup.session.launched, setup.cuda.launched) == (0, 1)


@pytest.mark.parametrize(
    ("kind", "copied", "recorded"),
    [("Memcpy", 3, True), ("Memset", 3, True), ("Memcpy", 1, False), ("Host", 3, False)],
)
def test_what_reads_or_calls_the_host_is_not_recorded(setup: Setup, kind: str, copied: int, recorded: bool) -> None:
    setup.cuda.kind, setup.cuda.copied = kind, copied
    tensors = setup.tensors(2)
    setup.call(tensors)
    if recorded:
        setup.call(tensors)
    else:
        with pytest.warns(RuntimeWarning, match="reads or calls the host"):
            setup.call(tensors)
    setup.call(tensors)
    assert len(setup.cuda.graphs) == recorded


def test_a_capture_that_fails_costs_nothing_but_a_warning(setup: Setup) -> None:
    setup.cuda.spoiled = True
    tensors = setup.tensors(2)
    setup.call(tensors)
    with pytest.warns(RuntimeWarning, match="cudaStreamEndCapture failed"):
        setup.call(tensors)
    for _ in range(4):
        setup.call(tensors)
    assert (setup.plain.calls, setup.cuda.launched) == (7, 0)


def test_where_calls_are_recorded() -> None:
    for backend, device in (("auto", None), ("tensorrt", "cuda"), ("openvino", "cpu")):
        with pytest.raises(UsageError, match="--capture is for --device webgpu and cuda"):
            open_backend(backend, device=device, capture=True)
