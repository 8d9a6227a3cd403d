"""Reading image files: once, in bounded steps, and never for ever."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from sacvit_deploy.errors import ImageError
from sacvit_deploy.images import reading
from sacvit_deploy.images.reading import STEP, read_image

HEAD = [sys.executable, "-c"]


@pytest.mark.parametrize("size", [0, 1, 1000, STEP - 1, STEP, 3 * STEP + 7])
def test_files_of_every_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a.jpg").write_bytes(data)
    assert read_image(tmp_path / "a.jpg") == data


def test_a_file_without_a_size() -> None:
    assert Path("/proc/self/status").stat().st_size == 0
    assert b"Pid:" in (read_image("/proc/self/status") or b"")


def test_no_more_is_set_aside_than_the_file_has(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(100_000))
    tracemalloc.start()
    try:
        read_image(tmp_path / "a.jpg")
        assert tracemalloc.get_traced_memory()[1] < 2 * STEP
        read_image("/proc/self/status")
        assert tracemalloc.get_traced_memory()[1] < 2 * STEP
    finally:
        tracemalloc.stop()


def test_a_file_that_grows_is_read_to_its_end_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    path = tmp_path / "a.jpg"
    path.write_bytes(bytes(1000))
    assert read_image(path) == bytes(1000)
    path.write_bytes(bytes(1001))
    with pytest.raises(ImageError, match="larger than"):
        read_image(path)


# --- pipes


def test_a_pipe_is_read_until_its_writer_ends(tmp_path: Path) -> None:
    path, data = tmp_path / "pipe.jpg", os.urandom(3 * STEP)
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb") as file:
            for at in range(0, len(data), STEP):
                file.write(data[at : at + STEP])
                file.flush()
                time.sleep(0.05)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert read_image(path) == data
    writer.join(60)


@pytest.mark.parametrize("silent_writer", [False, True])
def test_a_pipe_that_sends_nothing_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_writer: bool
) -> None:
    monkeypatch.setattr(reading, "PATIENCE", 0.2)
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR) if silent_writer else None
    with pytest.raises(ImageError, match=r"pipe\.jpg is a pipe that sent nothing for 0.2 s"):
        read_image(path)
    if writer is not None:
        os.close(writer)


def test_a_pipe_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 5 << 20)
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    with subprocess.Popen(["sh", "-c", 'exec cat /dev/zero > "$1"', "sh", path], stderr=subprocess.DEVNULL) as writer:
        with pytest.raises(ImageError, match="larger than 5 MB"):
            read_image(path)
        writer.kill()


def test_standard_input_may_be_a_pipe(tmp_path: Path) -> None:
    script = "from sacvit_deploy.images.reading import read_image; print(len(read_image('/dev/stdin')))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([*HEAD, script], input=bytes(200_000), capture_output=True, env=environment, timeout=120)
    assert done.stdout == b"200000\n", done.stderr


# --- what is neither


def test_folders_devices_and_sockets_are_named_for_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
        for path, said in (
            (tmp_path, "a folder"),
            ("/dev/zero", "a device"),
            ("/dev/null", "a device"),
            ("socket.jpg", "a socket"),
        ):
            with pytest.raises(ImageError, match=f"it is {said}, not a file"):
                read_image(path)


def test_a_file_may_be_read_where_little_memory_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(100_000))
    script = f"""
import resource
from sacvit_deploy.images.reading import read_image
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
print(len(read_image({str(tmp_path / "a.jpg")!r})))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([*HEAD, script], capture_output=True, env=environment, timeout=120)
    assert done.stdout == b"100000\n", done.stderr
