"""Logits that stay on the device, which other libraries take there; here the device is the processor's memory."""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sacvit_deploy import BackendError, DeviceAnswers, OutputError, Prediction, SACViT, UsageError
from sacvit_deploy.device.dlpack import tensor_in
from sacvit_deploy.device.exported import ExportedTensor
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Rows
from tests.data.record import BEFORE, TINY_IMAGES

from .late import LateDevice, LateMemory, Queue, put_on
from .test_stages import SPEEDS, Speeds

READERS: dict[str, Callable[[Any], Any]] = {"torch": torch.from_dlpack, "numpy": np.from_dlpack}
PATHS = TINY_IMAGES[:8]
FP32 = np.dtype(np.float32)


def opened() -> SACViT:
    return SACViT(BEFORE, precision="fp32", threads=1)


def on_late(speeds: Speeds = SPEEDS[0], max_batch: int | None = None) -> tuple[SACViT, LateMemory]:
    """A model on a device that has the addresses of torch's tensors, and the memory there."""
    model = opened()
    device = LateDevice(model.bundle.checked_files("fp32"), speeds, max_batch)
    assert isinstance(device.memory, LateMemory)
    device.memory.dlpack_device = (1, 0)
    put_on(model, device)
    return model, device.memory


@pytest.fixture(scope="module")
def plain() -> SACViT:
    return opened()


@pytest.fixture(scope="module")
def images(plain: SACViT) -> torch.Tensor:
    return torch.tensor(np.stack([plain.prepare(path).pixels for path in PATHS]))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def eta(plain: SACViT) -> float:
    """One that four of the eight images exit above."""
    found = sorted(one.stage_one_probability for one in good(plain.predict_batch(PATHS)))
    return (found[3] + found[4]) / 2


@pytest.fixture
def late() -> tuple[SACViT, LateMemory]:
    return on_late()


def good(answers: Any) -> list[Prediction]:
    assert all(isinstance(one, Prediction) for one in answers), answers
    return list(answers)


def softmax(logits: Any) -> np.ndarray:
    return torch.tensor(np.asarray(logits)).double().softmax(1).float().numpy()


# --- the answers


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("speeds", SPEEDS)
def test_they_are_predicts(speeds: Speeds, reader: str, plain: SACViT, images: torch.Tensor, eta: float) -> None:
    """Some, none and all continue; another alpha; one image; part of a tensor; no image goes up, no row is amiss."""
    model, memory = on_late(speeds)
    cases: list[tuple[slice, float, float | None]] = [
        (slice(8), eta, None), (slice(8), 0.0, None), (slice(8), 1.0, 0.3), (slice(3, 4), 1.0, None),
        (slice(2, 7), eta, 0.7),
    ]  # fmt: skip
    for part, threshold, alpha in cases:
        answers = model.predict_tensors(images[part], eta=threshold, alpha=alpha)
        expected = good(plain.predict_batch(PATHS[part], eta=threshold, alpha=alpha))
        found = good(answers.predictions)
        assert [(one.stage, one.label, one.position) for one in found] == [
            (one.stage, one.label, one.position) for one in expected
        ]
        logits = READERS[reader](answers.logits)
        assert tuple(logits.shape) == answers.logits.shape == (len(expected), 10)
        wanted = np.stack([one.probabilities for one in expected])
        np.testing.assert_allclose(softmax(logits), wanted, atol=1e-6)
        np.testing.assert_array_equal(np.stack([one.probabilities for one in found]), wanted)
        assert np.asarray(logits).argmax(1).tolist() == [one.index for one in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one.targets, other.targets)  # type: ignore[arg-type]
    assert {one.stage for one in good(model.predict_tensors(images, eta=eta).predictions)} == {1, 2}
    assert memory.uploaded < 1000  # indices


def test_no_images(late: tuple[SACViT, LateMemory], images: torch.Tensor) -> None:
    answers = late[0].predict_tensors(images[:0])
    assert list(answers.predictions) == [] and torch.from_dlpack(answers.logits).shape == (0, 10)
    assert np.from_dlpack(answers.logits).shape == (0, 10)  # type: ignore[arg-type]


def test_an_image_whose_logits_are_not_finite(
    late: tuple[SACViT, LateMemory], images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has an error in its place, and its row on the device shows it; the others are answered."""
    model, _ = late
    whole = torch.from_dlpack(model.predict_tensors(images, eta=0.0).logits)
    download = LateMemory.download

    def spoiled(self: LateMemory, target: Any, source: DeviceTensor, stream: Queue) -> None:
        if source.dtype == FP32:
            array = np.frombuffer(bytes_at(source), np.float32).reshape(source.shape)
            array[2, 5] = np.nan
        download(self, target, source, stream)

    monkeypatch.setattr(LateMemory, "download", spoiled)
    answers = model.predict_tensors(images, eta=0.0)
    assert isinstance(answers.predictions[2], OutputError) and answers.predictions[2].position == 2
    good([one for one in answers.predictions if one is not answers.predictions[2]])
    found = torch.from_dlpack(answers.logits)
    assert found.isfinite().all(1).tolist() == [True, True, False, True, True, True, True, True]
    assert torch.equal(found[3:], whole[3:])


def bytes_at(tensor: DeviceTensor) -> Any:
    """The memory of a tensor, to be read and written."""
    return (ctypes.c_uint8 * tensor.nbytes).from_address(tensor.handle)


# --- whose memory it is


def test_later_calls_write_nothing_into_it(late: tuple[SACViT, LateMemory], images: torch.Tensor, eta: float) -> None:
    model, _ = late
    answers = model.predict_tensors(images, eta=eta)
    tensor = torch.from_dlpack(answers.logits)
    before = tensor.clone()
    for _ in range(3):
        model.predict_tensors(images.flip(0).contiguous(), eta=1.0)
        list(model.stream(images.flip(0).contiguous(), batch_size=3))
    assert torch.equal(tensor, before)
    tensor += 1  # nor does a consumer into anybody's
    assert torch.equal(torch.from_dlpack(answers.logits), before + 1)
    assert torch.equal(torch.from_dlpack(model.predict_tensors(images, eta=eta).logits), before)


@pytest.mark.parametrize("order", ["answers first", "consumers first"])
@pytest.mark.parametrize("reader", READERS)
def test_it_is_freed_once_with_the_last_who_has_it(
    reader: str, order: str, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, memory = on_late()
    freed: list[int] = []
    free = HostMemory.free

    def counting(self: HostMemory, tensor: DeviceTensor) -> None:
        freed.append(tensor.handle)
        free(self, tensor)

    model.predict_tensors(images)
    gc.collect()
    before = len(memory._kept)
    answers: DeviceAnswers | None = model.predict_tensors(images)
    monkeypatch.setattr(HostMemory, "free", counting)
    consumers = [READERS[reader](answers.logits) for _ in range(3)]
    capsule = answers.logits.__dlpack__()  # which nobody takes
    assert len(memory._kept) == before + 1
    if order == "answers first":
        answers = None
    gc.collect()
    assert freed == []
    last = consumers.pop()
    del consumers, capsule
    gc.collect()
    assert freed == []
    value = float(last[0, 0])
    if order == "answers first":
        part = last[1:]  # a view keeps all
        del last
        gc.collect()
        assert freed == [] and np.isfinite(value)
        del part
    else:
        del last
        gc.collect()
        assert freed == []
        answers = None
    gc.collect()
    assert len(freed) == 1 and len(memory._kept) == before


def test_it_outlives_the_model(images: torch.Tensor) -> None:
    model, memory = on_late()
    answers = model.predict_tensors(images)
    before = torch.from_dlpack(answers.logits).clone()
    model.close()
    with pytest.raises(UsageError, match="closed"):
        model.predict_tensors(images)
    del model
    gc.collect()
    assert len(memory._kept) == 1
    tensor = torch.from_dlpack(answers.logits)
    del answers
    assert torch.equal(tensor, before)
    del tensor
    gc.collect()
    assert memory._kept == {}


def test_where_copying_fails_nothing_is_left(
    late: tuple[SACViT, LateMemory], images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, memory = late
    model.predict_tensors(images)
    gc.collect()

    def failing(*_: Any) -> None:
        raise BackendError("the device is gone")

    monkeypatch.setattr(LateMemory, "copy", failing)
    with pytest.raises(BackendError, match="gone"):
        model.predict_tensors(images, eta=0.0)
    monkeypatch.undo()
    gc.collect()
    assert memory._kept == {}  # the context was dropped, and so was the tensor
    monkeypatch.setattr(memory, "_eager", [True] * 3)
    assert len(good(model.predict_tensors(images).predictions)) == 8


FLAT = """
import gc, json, sys
from pathlib import Path
import numpy as np
import torch
from tests.sacvit_deploy.device.test_exported import on_late

model, memory = on_late()
images, sizes = torch.zeros((3, 64, 64, 3), dtype=torch.uint8), []

def note():
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096 if sys.platform == "linux" else 0
    sizes.append((len(memory._kept), sys.getallocatedblocks(), resident))

for number in range(2000):
    answers = model.predict_tensors(images[: 1 + number % 3], eta=0.5)
    if number % 4:
        torch.from_dlpack(answers.logits)
    if number % 4 == 2:
        np.from_dlpack(answers.logits)
    if number % 500 == 499:
        note()
for number in range(20000):
    torch.from_dlpack(answers.logits)
    answers.logits.__dlpack__()
note()
print(json.dumps(sizes))
"""


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which has nobody else's threads and garbage."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_memory_is_flat() -> None:
    """Over 2,000 calls, whose answers are taken by a library, by two, or by nobody, and over 40,000 capsules."""
    done = run(FLAT)
    assert done.returncode == 0, done.stderr
    first, *_, last, after = json.loads(done.stdout)
    for blocks, objects, resident in (last, after):
        assert blocks == first[0] and objects - first[1] < 500, done.stdout
        assert resident - first[2] < 3 << 20, done.stdout  # bytes; a capsule's own memory is 200


def test_many_threads(images: torch.Tensor, plain: SACViT, eta: float) -> None:
    """Each lets go of what others made, and reads its own, while all of them call."""
    model, memory = on_late()
    wanted = {
        start: torch.from_dlpack(model.predict_tensors(images[start:], eta=eta).logits).clone() for start in range(4)
    }
    gc.collect()
    left: list[Any] = []
    wrong: list[object] = []

    def work(start: int) -> None:
        try:
            for _ in range(25):
                tensor = torch.from_dlpack(model.predict_tensors(images[start:], eta=eta).logits)
                left.append(tensor)
                if len(left) > 6:
                    left.pop(0)
                if not torch.equal(tensor, wanted[start]):
                    wrong.append(start)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number % 4,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []
    left.clear()
    del threads
    model.close()
    gc.collect()
    assert memory._kept == {}


AT_EXIT = """
import atexit, sys
import torch
from tests.sacvit_deploy.device.test_exported import on_late
import numpy as np
import tests.sacvit_deploy.device.test_exported as kept
model, memory = on_late()
images = torch.zeros((3, 64, 64, 3), dtype=torch.uint8)
answers = model.predict_tensors(images)
kept.tensors = [torch.from_dlpack(answers.logits), np.from_dlpack(answers.logits), answers.logits.__dlpack__(), answers]
kept.tensors.append(kept.tensors)  # a circle
sys.leaked = torch.from_dlpack(model.predict_tensors(images).logits)
class Last:
    def __init__(self, tensor): self.tensor = tensor
    def __del__(self): print("last", tuple(self.tensor.shape), flush=True)
sys.last = Last(torch.from_dlpack(model.predict_tensors(images).logits))
atexit.register(lambda: print("atexit", tuple(torch.from_dlpack(answers.logits).shape), flush=True))
"""


@pytest.mark.slow
def test_the_end_of_the_process() -> None:
    """Whoever has a tensor to the very end, nothing crashes and nothing is complained of."""
    done = run(AT_EXIT, "-X", "dev", "-W", "ignore")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[0] == "atexit (3, 10)"


# --- the protocol


def test_a_consumers_stream_waits(images: torch.Tensor) -> None:
    """Copies are queued; what the consumer queues behind them comes later; whoever has no stream waits himself."""
    memory = LateMemory((False, False, False, False))
    memory.dlpack_device = (1, 0)
    source = memory.allocate((4, 3), FP32)
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    HostMemory.upload(memory, source, values, None)
    ours, theirs, other = memory.stream(), memory.stream(), memory.stream()
    parts = [Rows({"logits": source}, 2, 4), Rows({"logits": source}, 0, 1)]
    wanted = values[[2, 3, 0]]

    def exported() -> ExportedTensor:
        return ExportedTensor("logits", parts, (3, 3), FP32, memory, ours)

    def read(capsule: Any) -> np.ndarray:
        address = tensor_in(capsule).data
        return np.frombuffer(bytes_at(DeviceTensor(address, (3, 3), FP32)), np.float32).reshape(3, 3)

    seen: list[np.ndarray] = []
    first = exported()
    capsule = first.__dlpack__(stream=theirs)  # type: ignore[arg-type]
    theirs.put(lambda: seen.append(read(capsule).copy()))
    assert ours.done == 0
    theirs.reach(theirs.put_in)
    np.testing.assert_array_equal(seen[0], wanted)
    second = exported()
    unordered = second.__dlpack__(stream=-1)
    other.reach(other.put_in)
    assert ours.done < ours.put_in and unordered is not None
    np.testing.assert_array_equal(read(second.__dlpack__()), wanted)
    assert ours.done == ours.put_in


def test_a_gpus_capsule_says_where_it_is(late: tuple[SACViT, LateMemory], images: torch.Tensor) -> None:
    """Torch's build for the processor refuses it by its device; nothing is read, and it is freed as any other."""
    model, memory = late
    answers = model.predict_tensors(images)
    memory.dlpack_device = (2, 1)
    capsule = answers.logits.__dlpack__(stream=-1)
    place = tensor_in(capsule).place
    assert (place.kind, place.number) == (2, 1) == answers.logits.__dlpack_device__()
    assert repr(answers.logits) == "ExportedTensor(shape=(8, 10), dtype=float32, device=(2, 1))"
    before = len(memory._kept)
    del answers, capsule, place
    gc.collect()
    assert len(memory._kept) == before - 1


def test_copies_and_other_devices_are_refused(late: tuple[SACViT, LateMemory], images: torch.Tensor) -> None:
    logits = late[0].predict_tensors(images).logits
    for options in ({"copy": True}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match="copy it in the library that takes it"):
            logits.__dlpack__(**options)  # type: ignore[arg-type]
    assert logits.__dlpack__(copy=False, dl_device=(1, 0), max_version=(1, 0)) is not None
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        capsule = logits.__dlpack__()
        torch.utils.dlpack.from_dlpack(capsule)
        tensor_in(capsule)  # it was taken


# --- what is refused


def test_what_can_not_be(late: tuple[SACViT, LateMemory], plain: SACViT, images: torch.Tensor) -> None:
    model, memory = late
    for tensor, said in (
        (images.float(), "not uint8"), (images[0], r"its shape is \[64, 64, 3\]"), (images[0, 0, 0, 0], "its shape"),
        (images[::2], "gaps"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=rf"uint8 \[B,64,64,3\] and contiguous \(.*{said}"):
            model.predict_tensors(tensor)
    assert model.pool is not None and len(model.pool._idle) == 1  # the engines stay
    with pytest.raises(UsageError, match="eta"):
        model.predict_tensors(images, eta=2.0)
    for wrong in ("cat.jpg", [images]):
        with pytest.raises(UsageError, match=r"a tensor that is on the model's GPU \(.*\), not this (str|list)"):
            model.predict_tensors(wrong)
    with pytest.raises(UsageError, match="for models on a GPU, and this one runs on .*; call predict_batch"):
        plain.predict_tensors(images)
    memory.dlpack_device = None
    with pytest.raises(UsageError, match="can't be shared with other libraries; call predict_batch"):
        model.predict_tensors(images)
    few, _ = on_late(max_batch=4)
    with pytest.raises(UsageError, match="up to 4 images a call, not 8"):
        few.predict_tensors(images)


def test_the_device_that_has_the_images(images: torch.Tensor, plain: SACViT) -> None:
    """Of several, the one whose tensor it is."""
    model = opened()
    devices = [LateDevice(model.bundle.checked_files("fp32"), SPEEDS[0]) for _ in range(2)]
    for number, device in enumerate(devices):
        assert isinstance(device.memory, LateMemory)
        device.memory.dlpack_device = (1, 1 - number)
    put_on(model, *devices)
    answers = model.predict_tensors(images)
    assert answers.logits.__dlpack_device__() == (1, 0)
    assert devices[0].sizes == {} and devices[1].sizes["ee"] == [8]
    assert [one.label for one in good(answers.predictions)] == [one.label for one in good(plain.predict_batch(PATHS))]
