"""Tensors of other libraries that are on the device already; here the device is the processor's memory."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sacvit_deploy import Prediction, SACViT, UsageError
from sacvit_deploy.device.dlpack import borrow_images, dlpack_device

from .late import LateDevice, LateMemory, put_on
from .test_stages import SPEEDS, Speeds, answers, equal


@pytest.fixture(params=SPEEDS)
def late(request: pytest.FixtureRequest, model: SACViT) -> Iterator[SACViT]:
    """A model on a device that has the addresses of torch's tensors."""
    speeds: Speeds = request.param
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    device = LateDevice(late.bundle.checked_files("fp32"), speeds)
    assert isinstance(device.memory, LateMemory)
    device.memory.dlpack_device = (1, 0)
    put_on(late, device)
    yield late


@pytest.fixture
def images(model: SACViT, image_paths: list[Path]) -> torch.Tensor:
    return torch.tensor(np.stack([model.prepare(path).pixels for path in image_paths]))  # type: ignore[arg-type]


def test_a_batch_is_taken_where_it_is(
    late: SACViT, model: SACViT, images: torch.Tensor, image_paths: list[Path]
) -> None:
    """No pixel goes up; batches smaller than the tensor, and a tensor that is part of another."""
    assert late.pool is not None and isinstance(late.pool.device.memory, LateMemory)
    expected = answers(model, image_paths, batch_size=3)
    for given, wanted in ((images, expected), (images[2:5], expected[2:5]), (images[:0], [])):
        for found in (late.predict_batch(given), list(late.stream(given, batch_size=3))):
            assert all(isinstance(one, Prediction) and one.source == "<Tensor>" for one in found)
            equal(named(found), named(wanted))  # type: ignore[arg-type]
            assert [one.position for one in found] == list(range(len(wanted)))
    assert late.pool.device.memory.uploaded < 10_000  # indices


def named(predictions: list[Prediction]) -> list[Prediction]:
    """The same under no name."""
    return [dataclasses.replace(one, source="") for one in predictions]


def test_what_is_no_batch_of_the_models_is_refused(late: SACViT, images: torch.Tensor) -> None:
    assert late.pool is not None
    late.predict_batch(images)
    (context,) = late.pool._idle
    for tensor, said in (
        (images.float(), "not uint8"),
        (images[:, :100], r"its shape is \[7, 100, 224, 3\]"),
        (images.transpose(1, 2), "gaps"),
        (images[::2], "gaps"),
        (images.permute(0, 3, 1, 2), "its shape is"),
    ):
        with pytest.raises(UsageError, match=rf"uint8 \[B,224,224,3\] and contiguous \(.*{said}.*by \.cpu\(\)"):
            late.predict_batch(tensor)
    with pytest.raises(UsageError, match="channels is 'bgr'"):
        late.predict_batch(images, channels="bgr")
    with pytest.raises(UsageError, match="one image"):
        late.predict_batch(images[0])
    assert late.pool._idle == [context]  # the engines stay


def test_one_image_may_have_any_step_along_its_batch(images: torch.Tensor) -> None:
    borrowed = borrow_images(images[::2][:1], 224, None)
    assert borrowed.tensor.shape == (1, 224, 224, 3) and borrowed.tensor.handle == images.data_ptr()
    assert borrow_images(images[1:], 224, None).tensor.handle == images[1].data_ptr()


def test_the_memory_lives_as_long_as_it_is_borrowed() -> None:
    array = np.zeros((2, 8, 8, 3), np.uint8)
    gone = weakref.ref(array)
    borrowed = borrow_images(array, 8, None)
    del array
    gc.collect()
    assert gone() is not None
    del borrowed
    gc.collect()
    assert gone() is None


def test_what_is_on_which_device(images: torch.Tensor) -> None:
    assert dlpack_device(images) == (1, 0) == dlpack_device(images.numpy())
    assert dlpack_device("cat.jpg") is None and dlpack_device([images]) is None
