"""Videos as frames: names and times, rotation, damage, and what is no video."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources.frames import Frame
from sacvit_deploy.sources.video import Recording
from tests.sacvit_deploy.sources.videos import SIZE, break_conversion, need_av, stills, write_video
from tests.web_servers import sends, serving, untrusted


def frames_of(path: Path | str) -> list[Frame]:
    return list(Recording(str(path), str(path)).frames(print))


def error_of(frame: Frame) -> str | None:
    assert isinstance(frame.image, Claimed)
    return None if frame.image.error is None else str(frame.image.error)


def pixels_of(frame: Frame) -> np.ndarray:
    assert isinstance(frame.image, Claimed) and isinstance(frame.image.source, np.ndarray)
    return frame.image.source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_av()
    return tmp_path_factory.mktemp("videos")


@pytest.mark.parametrize(
    ("ending", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "libx264"), ("mov", "mjpeg")]
)
def test_frames_have_names_times_and_pixels(folder: Path, ending: str, codec: str) -> None:
    images = stills(30)
    path = write_video(folder / f"a b.{ending}", images, codec)
    frames = frames_of(path)
    assert [frame.name for frame in frames] == [f"{path}#frame {number}" for number in range(30)]
    assert [frame.number for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx([number / 25 for number in range(30)], abs=0.002)
    for frame, image in zip(frames, images, strict=True):
        difference = np.abs(pixels_of(frame).astype(int) - np.asarray(image))
        assert pixels_of(frame).shape == (SIZE[1], SIZE[0], 3) and difference.mean() < 25


def test_each_nth_frame(folder: Path) -> None:
    """Under its own number and time, with its own pixels; the length is still checked."""
    path = write_video(folder / "nth.mp4", stills(30))
    whole, some = frames_of(path), list(Recording(str(path), str(path), every=7).frames(print))
    assert [frame.number for frame in some] == [0, 7, 14, 21, 28]
    for frame, same in zip(some, whole[::7], strict=True):
        assert (frame.name, frame.time) == (same.name, same.time)
        np.testing.assert_array_equal(pixels_of(frame), pixels_of(same))
    cut = write_video(folder / "nth-cut.mp4", stills(30), movflags="faststart")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    *some, last = Recording(str(cut), str(cut), every=7).frames(print)
    count = len(frames_of(cut)) - 1
    assert [frame.number for frame in some] == list(range(0, count, 7)) and count > 7
    assert str(error_of(last)).startswith(f"{cut} breaks off after {count} frames: ")


@pytest.mark.parametrize("every", [1, 4])
def test_a_frame_that_cant_be_converted(folder: Path, every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks off there, without what the decoder holds after it. Frames that nobody wants are not converted."""
    path = write_video(folder / f"unconverted-{every}.mp4", stills(30))
    calls = break_conversion(monkeypatch, 3)
    *frames, last = Recording(str(path), str(path), every=every).frames(print)
    assert [frame.number for frame in frames] == [0, every, 2 * every] and len(calls) == 4
    assert last.name == f"{path}#frame {3 * every}"
    assert error_of(last) == f"{path} breaks off after {3 * every} frames: Invalid argument"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_followed(folder: Path, degrees: int) -> None:
    """A phone that was held upright writes what its sensor saw, and by how much to turn it clockwise."""
    images = [image.rotate(degrees, expand=True) for image in stills(3)]  # counterclockwise: as the sensor saw it
    path = write_video(folder / f"turned-{degrees}.mp4", images, rotation=degrees)
    for frame, image in zip(frames_of(path), stills(3), strict=True):
        assert pixels_of(frame).shape == (SIZE[1], SIZE[0], 3)
        assert np.abs(pixels_of(frame).astype(int) - np.asarray(image)).mean() < 25


def test_damage_in_the_middle_costs_only_what_follows(folder: Path) -> None:
    whole = write_video(folder / "whole.mp4", stills(50)).read_bytes()
    damaged = folder / "damaged.mp4"
    noise = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    half = len(whole) // 2
    damaged.write_bytes(whole[:half] + noise + whole[half + len(noise) :])
    *frames, last = frames_of(damaged)
    assert 10 <= len(frames) < 50 and all(error_of(frame) is None for frame in frames)
    assert last.name == f"{damaged}#frame {len(frames)}"
    assert str(error_of(last)).startswith(f"{damaged} breaks off after {len(frames)} frames: ")


@pytest.mark.parametrize(
    ("name", "options"), [("cut.mp4", {"movflags": "faststart"}), ("cut.mkv", {}), ("cut.avi", {})]
)
def test_a_file_that_was_cut_says_so(folder: Path, name: str, options: dict[str, str]) -> None:
    """Some containers end without an error; what they said of their length is held against what came."""
    codec = "mpeg4" if name.endswith(".avi") else "libx264"
    path = write_video(folder / name, stills(75), codec, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 10])
    *frames, last = frames_of(path)
    assert 5 < len(frames) < 70
    assert str(error_of(last)).startswith(f"{path} breaks off after {len(frames)} frames: ")


def test_what_is_no_video(folder: Path) -> None:
    cut = write_video(folder / "tail.mp4", stills(5))  # whose index is at its end
    cut.write_bytes(cut.read_bytes()[:3000])
    (frame,) = frames_of(cut)
    assert error_of(frame) == f"can't open {cut}: it is damaged, cut short or of another kind"
    (frame,) = frames_of(folder / "none.mp4")
    assert error_of(frame) == f"can't open {folder / 'none.mp4'}: No such file or directory"


def test_a_name_is_no_protocol_of_ffmpegs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(folder / "plain.mp4", stills(2))
    monkeypatch.chdir(folder)
    (frame,) = frames_of(f"concat:{path.name}")
    assert "No such file" in str(error_of(frame))
    playlist = folder / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {path.name}\n")
    (frame,) = frames_of(playlist)
    assert "of another kind" in str(error_of(frame))


def test_a_video_on_the_web(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    data = write_video(folder / "web.mp4", stills(10)).read_bytes()
    with serving({"/web.mp4": sends(data, "video/mp4")}) as server:
        assert len(frames_of(server.url("/web.mp4"))) == 10
        (frame,) = frames_of(server.url("/none.mp4"))
        assert "404" in str(error_of(frame)) or "not found" in str(error_of(frame)).lower()


def test_a_video_of_a_server_that_nobody_trusts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, certificate = untrusted(tmp_path)
    data = write_video(folder / "tls.mp4", stills(10)).read_bytes()
    with serving({"/tls.mp4": sends(data, "video/mp4")}, context) as server:
        (frame,) = frames_of(server.url("/tls.mp4", "https"))
        assert "is the server's certificate trusted? $SSL_CERT_FILE names whom to trust" in str(error_of(frame))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert len(frames_of(server.url("/tls.mp4", "https"))) == 10


def test_without_pyav_a_sentence_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from sacvit_deploy.sources.video import Recording\n"
        "print([str(frame.image.error) for frame in Recording('a.mp4', 'a.mp4').frames(print)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert "can't read a.mp4: PyAV, which reads and writes videos, can't be loaded" in done.stdout
    assert "pip install 'sacvit-deploy[video]'" in done.stdout and done.stdout.count("\n") == 1
