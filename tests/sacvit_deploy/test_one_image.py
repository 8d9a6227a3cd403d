"""One image, whatever it is or does, never costs the others their answers."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sacvit_deploy import ImageError, Prediction, SACViT, SacvitError, UsageError
from sacvit_deploy.images.scaled import ScaledImage
from sacvit_deploy.item import Item
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.host import HostStages
from tests.processes import start_process

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((ROOT / "examples/pictures").iterdir())[:6]


@pytest.fixture(scope="module")
def small() -> SACViT:
    """The example model: it needs no export, and 8 bits make no test here weaker."""
    return SACViT(BUNDLE, threads=1)


@pytest.fixture(scope="module")
def expected(small: SACViT) -> list[Prediction]:
    return [small.predict(path, eta=0.9) for path in PICTURES]


def labels(results: Any) -> list[str]:
    return [result.label if isinstance(result, Prediction) else f"{type(result).__name__}" for result in results]


def test_the_pictures_can_be_told_apart(expected: list[Prediction]) -> None:
    assert len(set(labels(expected))) == len(PICTURES)


# --- what its owner changes or shares


def test_a_lazy_pil_image_given_many_times(small: SACViT, expected: list[Prediction]) -> None:
    for _ in range(4):  # it was a race
        images = [Image.open(path) for path in PICTURES]
        found = small.stream(images * 6, batch_size=8, eta=0.9, workers=4)
        assert labels(found) == labels(expected) * 6


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("kind", ["array", "model's size", "grey", "bytearray", "memoryview", "PIL"])
def test_a_reused_buffer(small: SACViT, kind: str, workers: int) -> None:
    side = small.config.geometry.image_size if kind == "model's size" else 96
    frames = [np.asarray(Image.open(path).convert("RGB").resize((side, side))) for path in PICTURES]
    if kind == "grey":
        frames = [np.ascontiguousarray(frame[:, :, 1]) for frame in frames]
    alone = labels(small.predict(frame, eta=0.9) for frame in frames)
    assert len(set(alone)) > 2

    def capture() -> Iterator[Any]:
        shared = np.zeros_like(frames[0])
        image, buffer = Image.fromarray(shared), bytearray()
        for frame in frames:
            if kind == "PIL":
                image.paste(Image.fromarray(frame))
                yield image
            elif kind in ("bytearray", "memoryview"):
                buffer[:] = b"P6 %d %d 255\n" % (side, side) + frame.tobytes()
                view = memoryview(buffer)
                yield buffer if kind == "bytearray" else view
                view.release()
            else:
                shared[:] = frame
                yield shared
        shared[:] = 0

    for batch_size in (2, 64):
        assert labels(small.stream(capture(), batch_size=batch_size, eta=0.9, workers=workers)) == alone


# --- sources that raise


class Raising(os.PathLike[str]):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __fspath__(self) -> str:
        raise self.error


class InBytes(os.PathLike[bytes]):
    def __fspath__(self) -> bytes:
        return os.fsencode(PICTURES[2])


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("workers", [1, 3])
def test_paths_that_raise(small: SACViT, expected: list[Prediction], workers: int) -> None:
    memoryless = Image.new("RGB", (8, 8))
    memoryless.load = lambda: (_ for _ in ()).throw(MemoryError())  # type: ignore[method-assign, assignment]
    released = memoryview(b"x")
    released.release()
    bad: list[Any] = [
        Raising(ValueError("broken")),
        Raising(Unprintable()),
        Raising(MemoryError()),
        memoryless,
        released,
    ]
    sources = [PICTURES[0], *bad, InBytes(), PICTURES[1]]
    for scaled in (False, True):
        model = SACViT(BUNDLE, threads=1, scaled=scaled)
        found = list(model.stream(sources, batch_size=3, eta=0.9, workers=workers))
        assert labels([found[0], *found[-2:]]) == labels([expected[0], expected[2], expected[1]])
        errors = found[1:-2]
        assert all(isinstance(error, ImageError) for error in errors), errors
        assert "Raising" in str(errors[0])
        assert all("not enough memory" in str(error) for error in errors[2:4])
        for error in errors:
            assert isinstance(error, Exception)
            assert error.__traceback__ is None  # its frames hold the image


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_answers_before_a_failing_iterators_exception_come_first(
    small: SACViT, expected: list[Prediction], batch_size: int, workers: int
) -> None:
    def failing() -> Iterator[Path]:
        yield from PICTURES
        raise OSError("the camera is gone")

    found: list[Prediction | SacvitError] = []
    with pytest.raises(OSError, match="the camera is gone"):
        found.extend(small.stream(failing(), batch_size=batch_size, eta=0.9, workers=workers))
    found = []
    stream = small.stream(failing(), batch_size=batch_size, eta=0.9, workers=workers)
    for _ in PICTURES:
        found.append(next(stream))
    assert labels(found) == labels(expected)
    with pytest.raises(OSError, match="the camera is gone"):
        next(stream)


# --- one image where several are expected


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("a.jpg", "str"),
        (b"abc", "bytes"),
        (bytearray(b"abc"), "bytearray"),
        (Path("a.jpg"), "Path"),
        (Image.new("RGB", (8, 8)), "Image"),
        (np.zeros((8, 9), np.uint8), "array of shape \\[8, 9\\]"),
        (np.zeros((8, 9, 3), np.uint8), "array of shape \\[8, 9, 3\\]"),
        (np.zeros((8, 9, 3), np.float32), "array of shape \\[8, 9, 3\\]"),
        (np.zeros((3, 8, 9), np.uint8), "one image or 3 grey ones; give \\[array\\]"),
        (torch.zeros(3, 8, 9), "one image or 3 grey ones"),
        (torch.zeros(8, 9, 3), "array of shape \\[8, 9, 3\\]"),
        (io.BytesIO(b"abc"), "BytesIO"),
        (7, "int"),
        (None, "NoneType"),
    ],
)
def test_one_image_is_no_batch(small: SACViT, source: Any, named: str) -> None:
    for ask in (small.predict_batch, small.stream):
        with pytest.raises(UsageError, match=named):
            ask(source)


def test_an_array_of_images_is_a_batch(small: SACViT, expected: list[Prediction]) -> None:
    batch = np.stack([np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in PICTURES])
    alone = labels(small.predict(frame, eta=0.9) for frame in batch)
    assert labels(small.predict_batch(batch, eta=0.9)) == alone
    assert labels(small.stream(batch, eta=0.9, workers=2)) == alone
    assert labels(small.predict_batch(np.array([str(path) for path in PICTURES]), eta=0.9)) == labels(expected)


# --- arrays of other libraries, open files


def arrays() -> list[Any]:
    return [np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in PICTURES]


def test_frames_of_opencv_are_bgr(small: SACViT) -> None:
    expected = [small.predict(array, eta=0.9) for array in arrays()]
    frames = [array[:, :, ::-1] for array in arrays()]
    wrong = labels(small.predict(frame, eta=0.9) for frame in frames)
    assert sum(a != b for a, b in zip(wrong, labels(expected), strict=True)) >= 4  # what the word is for
    answers = [
        [small.predict(frame, eta=0.9, channels="bgr") for frame in frames],
        small.predict_batch(frames, eta=0.9, channels="bgr"),
        small.predict_batch(np.stack(frames), eta=0.9, channels="bgr"),
        *(list(small.stream(frames, eta=0.9, channels="bgr", workers=workers)) for workers in (1, 3)),
    ]
    for found in answers:
        for result, right in zip(found, expected, strict=True):
            assert isinstance(result, Prediction)
            np.testing.assert_allclose(result.probabilities, right.probabilities, atol=1e-5)
    # Files are RGB whatever is said of arrays.
    assert labels(small.predict(path, eta=0.9, channels="bgr") for path in PICTURES) == labels(
        small.predict(path, eta=0.9) for path in PICTURES
    )
    with pytest.raises(UsageError, match="channels is 'BGR'; it must be one of rgb, bgr"):
        small.predict(frames[0], channels="BGR")  # type: ignore[arg-type]
    as_rgb, as_bgr = small.prepare(arrays()[0]).pixels, small.prepare(frames[0], "bgr").pixels
    assert as_rgb is not None and as_bgr is not None
    np.testing.assert_array_equal(as_bgr, as_rgb)


@pytest.mark.parametrize("workers", [1, 3])
def test_tensors_and_open_files(small: SACViT, expected: list[Prediction], workers: int) -> None:
    alone = labels(small.predict(array, eta=0.9) for array in arrays())
    batch = torch.from_numpy(np.stack(arrays())).permute(0, 3, 1, 2)
    for tensors in (batch, batch / 255, list(batch)):
        assert labels(small.stream(tensors, eta=0.9, workers=workers)) == alone
        assert labels(small.predict_batch(tensors, eta=0.9)) == alone

    def opened() -> Iterator[Any]:
        for path in PICTURES:
            with path.open("rb") as file:  # closed again as soon as the next one is asked for
                yield file

    found = list(small.stream(opened(), eta=0.9, workers=workers))
    assert labels(found) == labels(expected)
    assert [result.source for result in found if isinstance(result, Prediction)] == list(map(str, PICTURES))
    assert labels(small.stream((io.BytesIO(path.read_bytes()) for path in PICTURES), eta=0.9)) == labels(expected)


def test_an_open_file_is_decoded_scaled_as_its_path() -> None:
    model = SACViT(BUNDLE, threads=1, scaled=True)
    for path in PICTURES:
        with path.open("rb") as file:
            found, named = model.predict(file, eta=1.0), model.predict(path, eta=1.0)
        np.testing.assert_array_equal(found.probabilities, named.probabilities)
    assert any(model.prepare_scaled(path).scaled for path in PICTURES)


# --- arguments


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"eta": "0.6"}, "eta is '0.6'; it must be a number"),
        ({"alpha": "0.5"}, "alpha is '0.5'; it must be a number"),
        ({"batch_size": "8"}, "batch_size is '8'; it must be a whole number"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"workers": "2"}, "workers is '2'"),
    ],
)
def test_arguments_of_another_type(small: SACViT, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        list(small.stream(PICTURES[:1], **options))
    assert (
        len(list(small.stream(PICTURES[:1], eta=np.float32(0.5), alpha=np.float64(0.5), batch_size=np.int64(2)))) == 1
    )


# --- the second, late decode


@pytest.mark.parametrize("bad", [[1], [0, 2], [0, 1, 2]])
def test_an_image_that_fails_in_the_late_decode_is_answered_by_its_error(small: SACViT, bad: list[int]) -> None:
    pixels = [small.prepare(path).pixels for path in PICTURES[:3]]
    assert all(image is not None for image in pixels)

    def late(row: int) -> ScaledImage:
        def load() -> Any:
            if row in bad:
                raise MemoryError if row == 0 else ImageError(f"image {row} is gone")
            return pixels[row]

        return ScaledImage(pixels[row][::2, ::2], load, f"image {row}")  # type: ignore[index]

    items = [Item(str(row), None, scaled=late(row)) for row in range(3)]
    plain = [Item(str(row), pixels[row]) for row in range(3)]
    count = small.config.num_targets(None)
    scheduler = Scheduler(HostStages(small.cascade, count), 1.0, sac_batch=2, patience=8)
    answers = list(scheduler.run([[items[0], items[1], plain[0]], [items[2], plain[2]]]))
    assert [answer.item.source for answer in answers] == ["0", "1", "0", "2", "2"]
    failed = [answer.error is not None for answer in answers]
    assert failed == [0 in bad, 1 in bad, False, 2 in bad, False]
    for answer in answers:
        if answer.error is None:
            assert (answer.stage, answer.probabilities is not None) == (2, True)
        else:
            assert isinstance(answer.error, ImageError)
            assert f"image {answer.item.source}" in str(answer.error)


# --- little memory

CRAMPED = """
import resource, sys
from sacvit_deploy import SACViT

model = SACViT(sys.argv[1], threads=1)
model.predict(sys.argv[2], eta=1.0)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (150 << 20), used + (150 << 20)))
large = b"P6 9000 6000 255\\n" + bytes(9000 * 6000)  # 216 MB as pixels
for result in model.stream([sys.argv[2], large, *sys.argv[3:]], eta=1.0, workers=1):
    print(getattr(result, "label", result))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is set from /proc")
def test_missing_memory_costs_only_the_image_that_takes_it() -> None:
    command = [sys.executable, "-c", CRAMPED, str(BUNDLE), *map(str, PICTURES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    lines = done.stdout.splitlines()
    assert len(lines) == 7, done.stderr
    assert lines[1].startswith("not enough memory to decode <bytes>")
    assert not any("memory" in line for line in [lines[0], *lines[2:]])


# --- a read that hangs

HANGING = """
import os, sys, threading, time
from sacvit_deploy import SACViT

class Hanging(os.PathLike):
    def __fspath__(self):
        os.write(1, b"hanging\\n")  # at a stroke: two threads do so
        threading.Event().wait()

model = SACViT(sys.argv[1], threads=1, scaled=sys.argv[2] == "scaled")
for result in model.stream([Hanging(), Hanging()], workers=2):
    print(result)
"""


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_hanging_read_does_not_keep_the_process(kind: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = start_process(
        [sys.executable, "-c", HANGING, str(BUNDLE), "plain"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    process.send_signal(kind)
    process.communicate(timeout=120)
    assert process.returncode != 0
