"""Images on FIFOs and standard input: one, many, none, and those that break off."""

from __future__ import annotations

import io
import os
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from sacvit_deploy.images import reading
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources import pipes
from sacvit_deploy.sources.frames import Frame
from sacvit_deploy.sources.pipes import Pipe
from tests.sacvit_deploy.sources.videos import stills, write_video
from tests.web_servers import pictures

JPEGS = [path.read_bytes() for path in pictures()[:4]]
PNG = next((Path(__file__).parents[3] / "examples/pictures").glob("*.png")).read_bytes()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def frames_of(fifo: Path, chunks: Iterable[bytes], pause: float = 0.0, every: int = 1) -> list[Frame]:
    """The frames of a FIFO into which another thread writes."""

    def write() -> None:
        with fifo.open("wb", buffering=0) as file:
            for chunk in chunks:
                file.write(chunk)
                time.sleep(pause)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    frames = list(Pipe(str(fifo), every=every).frames(print))
    writer.join(30)
    assert not writer.is_alive()
    return frames


def data_of(frame: Frame) -> object:
    assert isinstance(frame.image, Claimed)
    return frame.image.source if frame.image.error is None else frame.image.error


def test_jpeg_after_jpeg(fifo: Path) -> None:
    frames = frames_of(fifo, JPEGS, 0.04)
    assert [data_of(frame) for frame in frames] == JPEGS
    assert [frame.name for frame in frames] == [str(fifo), *(f"{fifo}#frame {number}" for number in (1, 2, 3))]
    assert [frame.number for frame in frames] == [0, 1, 2, 3]
    times = [frame.time or 0.0 for frame in frames]
    assert times == sorted(times) and times[3] >= 0.1


def test_one_image_of_any_format(fifo: Path) -> None:
    for data in (JPEGS[0], PNG):
        (frame,) = frames_of(fifo, [data[:100], data[100:]])
        assert (frame.name, data_of(frame)) == (str(fifo), data)


def test_the_last_one_may_break_off(fifo: Path) -> None:
    frames = frames_of(fifo, [JPEGS[0], JPEGS[1][:5000]])
    assert [data_of(frame) for frame in frames] == [JPEGS[0], JPEGS[1][:5000]]  # which its decoder refuses


def album() -> bytes:
    """A photograph with two pictures in its file, as phones take them."""
    first, second = (Image.open(io.BytesIO(data)).convert("RGB") for data in JPEGS[:2])
    out = io.BytesIO()
    first.save(out, "MPO", save_all=True, append_images=[second])
    return out.getvalue()


def test_each_nth_image(fifo: Path) -> None:
    """Also of one that only ends with the pipe; where that breaks off is told, whether or not it was asked for."""
    assert [frame.number for frame in frames_of(fifo, JPEGS, every=3)] == [0, 3]
    whole = album()
    for count, numbers in ((3, [0, 3]), (2, [0])):
        frames = frames_of(fifo, [*JPEGS[:count], whole], every=3)
        assert [frame.number for frame in frames] == numbers
    assert data_of(frames_of(fifo, [*JPEGS[:3], whole], every=3)[1]) == whole
    for cut in (JPEGS[2][:-1], JPEGS[2][:5000], whole[:5000]):
        first, last = frames_of(fifo, [*JPEGS[:2], cut], every=3)
        assert (first.number, last.name) == (0, f"{fifo}#frame 2")
        assert str(data_of(last)).startswith(f"{fifo}#frame 2 is damaged or truncated")
        _, last = frames_of(fifo, [*JPEGS[:2], cut], every=2)
        assert (last.number, data_of(last)) == (2, cut)  # which its decoder refuses


def test_nothing_at_all(fifo: Path) -> None:
    (frame,) = frames_of(fifo, [])
    assert data_of(frame) == b""


def test_a_writer_that_stalls(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between images it may; within one, and before the first, it is given up."""
    monkeypatch.setattr(pipes, "PATIENCE", 0.3)
    monkeypatch.setattr(reading, "PATIENCE", 0.3)
    assert len(frames_of(fifo, JPEGS[:2], 0.7)) == 2
    ended = threading.Event()

    def stall() -> None:
        with fifo.open("wb", buffering=0) as file:
            file.write(JPEGS[0] + JPEGS[1][:5000])
            ended.wait(30)

    writer = threading.Thread(target=stall, daemon=True)
    writer.start()
    frames = list(Pipe(str(fifo)).frames(print))
    ended.set()
    writer.join(30)
    assert data_of(frames[0]) == JPEGS[0]
    assert frames[1].name == f"{fifo}#frame 1" and "sent nothing for 0.3 s" in str(data_of(frames[1]))
    (frame,) = Pipe(str(fifo)).frames(print)
    assert "sent nothing for 0.3 s; start its writer first" in str(data_of(frame))


def test_a_video_comes_through_a_pipe(fifo: Path, tmp_path: Path) -> None:
    data = write_video(tmp_path / "clip.mkv", stills(20)).read_bytes()
    frames = frames_of(fifo, [data[at : at + 4096] for at in range(0, len(data), 4096)])
    assert [frame.name for frame in frames] == [f"{fifo}#frame {number}" for number in range(20)]
    assert frames[19].time == pytest.approx(0.76, abs=0.01)


def test_a_terminal_is_no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, its = os.openpty()
    with os.fdopen(its) as terminal, os.fdopen(ours):
        monkeypatch.setattr(sys, "stdin", terminal)
        (frame,) = Pipe("-").frames(print)
    assert str(data_of(frame)) == "- is standard input, which is the terminal here; pipe an image or JPEGs into it"


def test_a_pipe_that_is_gone(tmp_path: Path) -> None:
    (frame,) = Pipe(str(tmp_path / "none")).frames(print)
    assert str(data_of(frame)) == f"can't read {tmp_path}/none: No such file or directory"
