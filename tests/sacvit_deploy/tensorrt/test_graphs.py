"""Contexts, CUDA graphs and streams against stand-ins that break where NVIDIA's rules are broken. NOT RUN on a GPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from sacvit_deploy.backends.tensorrt.backend import RoundTrip
from sacvit_deploy.backends.tensorrt.compat import KernelCache
from sacvit_deploy.backends.tensorrt.engine import CALLS, PlanEngine
from sacvit_deploy.device import cuda as bindings
from sacvit_deploy.device.linear import take_rows
from sacvit_deploy.device.protocol import DeviceTensor, Stream
from sacvit_deploy.errors import BackendError

from .stand_ins import Context, Cuda, Engine, Memory, library

FLOAT = np.dtype(np.float32)


class Setup:
    """A plan in a stream, with the objects that its rules are counted in."""

    def __init__(self, cuda: Cuda, runtime: str, kernels: KernelCache | None = None) -> None:
        self.cuda, self.memory, self.plan = cuda, Memory(cuda), Engine(cuda)
        self.kernels = kernels or KernelCache()
        self.engine = self.another(runtime)

    def another(self, runtime: str) -> PlanEngine:
        return PlanEngine(library(runtime), self.plan, "ee.plan", self.memory, 1, self.kernels)

    def tensors(self, rows: int) -> dict[str, DeviceTensor]:
        return {
            "image": self.memory.allocate((rows, 4), FLOAT),
            "logits": self.memory.allocate((rows, 1), FLOAT),
        }

    def call(self, tensors: dict[str, DeviceTensor], value: float) -> None:
        """Run once on an image of four equal values, and check the answer."""
        rows = tensors["image"].shape[0]
        self.memory.upload(tensors["image"], np.full((rows, 4), value, np.float32), None)
        self.engine.enqueue(tensors, 1)
        answer = np.zeros(1, np.float32)
        self.memory.download(answer, tensors["logits"], None)
        assert answer[0] == 4 * value + rows


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    stand_in = Cuda()
    monkeypatch.setattr(bindings, "load_library", lambda: stand_in)
    yield stand_in
    assert stand_in.broken == []


@pytest.fixture(params=["tensorrt", "tensorrt-rtx"])
def setup(request: pytest.FixtureRequest, cuda: Cuda) -> Setup:
    return Setup(cuda, request.param)


def test_two_buffers_in_turn_and_several_shapes_give_the_right_answers(setup: Setup) -> None:
    """As a stream does: two slots, and a smaller last batch. No graph may see its context's shapes change."""
    slots = [setup.tensors(8), setup.tensors(8)]
    short = {name: take_rows(tensor, 0, 3) for name, tensor in slots[0].items()}
    for step in range(12):
        setup.call(slots[step % 2], step)
        if step % 4 == 3:
            setup.call(short, step)


def test_tensorrt_launches_what_repeats(cuda: Cuda) -> None:
    setup = Setup(cuda, "tensorrt")
    slots = [setup.tensors(8), setup.tensors(8)]
    for step in range(10):
        setup.call(slots[step % 2], step)
    assert len(cuda.graphs) == 2
    assert cuda.launched == 10 - 2 * 2  # of each, the first call is new and the second settles what is recorded
    assert setup.plan.contexts == 1 + 2


def test_rtx_captures_each_of_two_buffers_once(cuda: Cuda) -> None:
    """In one context for both it would capture at every call."""
    setup = Setup(cuda, "tensorrt-rtx")
    slots = [setup.tensors(8), setup.tensors(8)]
    for step in range(10):
        setup.call(slots[step % 2], step)
    assert setup.plan.captures == 2
    assert cuda.graphs == {}


def test_rtx_compiles_a_shape_once_for_all_contexts_and_streams(cuda: Cuda) -> None:
    setup = Setup(cuda, "tensorrt-rtx")
    for rows in (8, 3):
        for tensors in (setup.tensors(rows), setup.tensors(rows)):
            for step in range(3):
                setup.call(tensors, step)
    setup.engine = setup.another("tensorrt-rtx")
    setup.call(setup.tensors(8), 1)
    assert setup.plan.compiled == 2


def test_all_contexts_of_a_stream_share_one_scratch_memory(setup: Setup) -> None:
    before = setup.memory.allocated
    pairs = [setup.tensors(rows) for rows in range(1, 8)]
    for step in range(3):
        for tensors in pairs:
            setup.call(tensors, step)
    assert setup.plan.contexts == 1 + len(pairs)
    assert setup.memory.allocated - before == 2 * len(pairs) + 1


def test_graphs_beyond_the_limit_are_destroyed_when_the_device_is_done(cuda: Cuda) -> None:
    setup = Setup(cuda, "tensorrt")
    for number in range(3 * CALLS):
        tensors = setup.tensors(1 + number % 8)
        for step in range(3):
            setup.call(tensors, step)
    assert len(cuda.graphs) == CALLS
    assert cuda.broken == []


def test_the_call_used_least_recently_goes_first(cuda: Cuda) -> None:
    setup = Setup(cuda, "tensorrt")
    kept = setup.tensors(8)
    for number in range(3 * CALLS):
        setup.call(kept, number)
        setup.call(setup.tensors(2), number)
    assert cuda.launched == 3 * CALLS - 2


def test_nothing_is_left_behind(setup: Setup) -> None:
    tensors = setup.tensors(8)
    for step in range(4):
        setup.call(tensors, step)
    kept = setup.memory.allocated
    del setup.engine
    gc.collect()
    assert setup.cuda.graphs == {}
    assert setup.memory.allocated == kept - 1  # the scratch memory


def test_what_can_not_be_recorded_runs_without_a_graph_and_says_so_once(cuda: Cuda) -> None:
    setup = Setup(cuda, "tensorrt")
    cuda.spoiled = True
    slots = [setup.tensors(8), setup.tensors(3)]
    with pytest.warns(UserWarning, match=r"ee\.plan runs without CUDA graphs, .* cudaStreamEndCapture") as said:
        for step in range(8):
            setup.call(slots[step % 2], step)
    assert len(said) == 1
    assert cuda.launched == 0 and cuda.capturing is None


def test_a_call_that_fails_is_an_error_and_not_run_otherwise(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recording alone may fail without harm to an answer."""
    setup = Setup(cuda, "tensorrt")
    tensors = setup.tensors(8)
    setup.call(tensors, 1)
    monkeypatch.setattr(Context, "execute_async_v3", lambda *_: False)
    with pytest.raises(BackendError, match=r"ee\.plan in TensorRT: a call failed"):
        setup.engine.enqueue(tensors, 1)


def test_a_round_trip_destroys_its_stream(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = Setup(cuda, "tensorrt")
    monkeypatch.setattr(Memory, "stream", bindings.CudaMemory.stream)
    monkeypatch.setattr(Memory, "close_stream", bindings.CudaMemory.close_stream)
    engine = RoundTrip(Lent(setup), "ee")
    assert engine.run({"image": np.ones((2, 4))})["logits"][0] == 6
    assert len(cuda.streams) == 1
    del engine
    gc.collect()
    assert cuda.streams == set()


def test_a_round_trip_keeps_its_device(cuda: Cuda) -> None:
    """Which writes what it compiled when it goes."""
    device = Lent(Setup(cuda, "tensorrt"))
    there = weakref.ref(device)
    engine = RoundTrip(device, "ee")
    del device
    gc.collect()
    assert there() is not None
    engine.run({"image": np.ones((2, 4))})
    del engine
    gc.collect()
    assert there() is None


class Lent:
    """A device that has one plan."""

    max_batch, engine_sets = 8, 1

    def __init__(self, setup: Setup) -> None:
        self.memory, self._setup = setup.memory, setup

    def engine(self, role: str, stream: Stream) -> PlanEngine:
        return self._setup.another("tensorrt")
