"""Live sources: Motion JPEG over HTTP, in real time, its end, its breaks; HLS; cameras and RTSP that are not there."""

from __future__ import annotations

import http.server
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.sources import live, reconnect, web
from sacvit_deploy.sources.frames import Frame
from sacvit_deploy.sources.live import Camera, Stream
from tests.sacvit_deploy.sources.videos import break_conversion, need_av, stills, write_video
from tests.web_servers import Server, motion_jpeg, pictures, sends, serving

JPEGS = [path.read_bytes() for path in pictures()[:5]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(reconnect, "FIRST", 0.05)
    monkeypatch.setattr(web, "SILENCE", 1.0)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({}) as started:
        started.answers["/ends"] = motion_jpeg(JPEGS, lambda: started, rate=25, ends=True)
        started.answers["/breaks"] = motion_jpeg(JPEGS, lambda: started, rate=100, ends=False)
        started.answers["/stalls"] = motion_jpeg([*JPEGS[:1], b""], lambda: started, rate=0.2, ends=True)
        started.answers["/still"] = sends(JPEGS[0])
        started.answers["/page"] = sends(b"<html>", "text/html")
        yield started


def data_of(frame: Frame) -> object:
    assert isinstance(frame.image, Claimed)
    return frame.image.source if frame.image.error is None else str(frame.image.error)


def test_motion_jpeg_to_its_end(server: Server) -> None:
    url, notes = server.url("/ends"), list[str]()
    frames = list(Stream(url).frames(notes.append))
    assert [data_of(frame) for frame in frames] == JPEGS
    assert [frame.name for frame in frames] == [f"{url}#frame {number}" for number in range(5)]
    times = [frame.time or 0.0 for frame in frames]
    assert times[0] == 0.0 and times == sorted(times) and times[4] > 0.1
    assert notes == []


def test_a_break_is_announced_and_mended(server: Server) -> None:
    url, notes = server.url("/breaks"), list[str]()
    frames = Stream(url, attempts=2).frames(notes.append)
    first = [next(frames) for _ in range(7)]
    assert [frame.number for frame in first] == list(range(7))  # through the break
    assert [data_of(frame) for frame in first] == JPEGS + JPEGS[:2]
    assert notes == [
        f"{url} broke off (it ended); trying again in 0.05 s, attempt 1 of 2",
        f"{url} is back",
    ]
    del server.answers["/breaks"]
    *rest, last = frames
    assert len(rest) == 3
    assert data_of(last) == f"{url} is gone, after 2 attempts to reach it again (answered 404 Not Found)"
    assert [note.rpartition(", ")[2] for note in notes[2:]] == ["attempt 1 of 2", "attempt 2 of 2"]


def test_breaks_may_be_the_end(server: Server) -> None:
    notes: list[str] = []
    frames = list(Stream(server.url("/breaks"), attempts=0).frames(notes.append))
    assert [data_of(frame) for frame in frames] == JPEGS
    assert notes == []


def test_a_server_that_stalls(server: Server) -> None:
    url = server.url("/stalls")
    begun = time.monotonic()
    frames = list(Stream(url, attempts=0).frames(print))
    assert [data_of(frame) for frame in frames] == [JPEGS[0], f"{url} sent nothing for 1 s"]
    assert time.monotonic() - begun < 60


def test_an_address_may_turn_out_to_be_an_image(server: Server) -> None:
    (frame,) = Stream(server.url("/still")).frames(print)
    assert data_of(frame) == JPEGS[0]


def test_an_image_has_its_time_limit_there_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream has none, once its type is known."""
    monkeypatch.setattr(web, "WHOLE", 0.5)

    def drips(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "image/jpeg")
        request.end_headers()
        for _ in range(600):
            request.wfile.write(b"x")
            if server.stopping.wait(0.05):
                return

    server.answers["/drips"] = drips
    (frame,) = Stream(server.url("/drips")).frames(print)
    assert data_of(frame) == f"{server.url('/drips')} took longer than 0.5 s, the limit for an image from the web"
    server.answers["/long"] = motion_jpeg(JPEGS, lambda: server, rate=5, ends=True)
    assert [data_of(frame) for frame in Stream(server.url("/long")).frames(print)] == JPEGS


def test_what_never_begins_is_told_at_once(server: Server) -> None:
    for path, said in (("/none", "answered 404 Not Found"), ("/page", "sent text/html, neither an image nor a stream")):
        notes: list[str] = []
        (frame,) = Stream(server.url(path)).frames(notes.append)
        assert data_of(frame) == f"{server.url(path)} {said}"
        assert (frame.name, notes) == (server.url(path), [])


@pytest.fixture
def playlist(server: Server, tmp_path: Path) -> str:
    """The address of a playlist of 30 frames with an end."""
    need_av()
    parts = {"hls_time": "0.4", "hls_list_size": "0", "hls_segment_filename": f"{tmp_path}/s%d.ts"}
    write_video(tmp_path / "list.m3u8", stills(30), **parts)
    assert len(list(tmp_path.iterdir())) == 4
    for path in tmp_path.iterdir():
        kind = "application/vnd.apple.mpegurl" if path.suffix == ".m3u8" else "video/mp2t"
        server.answers[f"/{path.name}"] = sends(path.read_bytes(), kind)
    return server.url("/list.m3u8")


def test_hls(playlist: str) -> None:
    """By FFmpeg."""
    notes: list[str] = []
    frames = list(Stream(playlist).frames(notes.append))
    assert [getattr(data_of(frame), "shape", data_of(frame)) for frame in frames] == [(120, 160, 3)] * 30
    assert notes == []


def test_a_frame_that_cant_be_converted(playlist: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a session, as any other damage does; frames are numbered and left out through both."""
    whole = list(Stream(playlist).frames(print))
    calls, notes = break_conversion(monkeypatch, 2), list[str]()
    frames = list(Stream(playlist, attempts=2, every=3).frames(notes.append))
    assert notes == [
        f"{playlist} broke off (breaks off after 6 frames: Invalid argument); trying again in 0.05 s, attempt 1 of 2",
        f"{playlist} is back",
    ]
    assert [frame.number for frame in frames] == list(range(0, 36, 3))
    assert len(calls) == len(frames) + 1  # none of those that are left out
    for frame, same in zip(frames, [*whole[:6:3], *whole[::3]], strict=True):
        assert np.array_equal(data_of(frame), data_of(same))


def test_a_playlist_opens_no_files(server: Server, tmp_path: Path) -> None:
    need_av()
    secret = write_video(tmp_path / "secret.ts", stills(5))
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    server.answers["/evil.m3u8"] = sends(text.encode(), "application/vnd.apple.mpegurl")
    (frame,) = Stream(server.url("/evil.m3u8")).frames(print)
    assert isinstance(data_of(frame), str)


def test_cameras_and_rtsp_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    need_av()
    (frame,) = Stream("rtsp://me:secret@127.0.0.1:9/s").frames(print)
    assert data_of(frame) == "can't open rtsp://me:***@127.0.0.1:9/s: Connection refused"
    monkeypatch.setattr(live.platform, "system", lambda: "Linux")
    (frame,) = Camera("/dev/video97").frames(print)
    assert data_of(frame) == "can't open /dev/video97: No such file or directory"
    (frame,) = Camera("97").frames(print)
    assert str(data_of(frame)).startswith("can't open camera 97: ")
    monkeypatch.setattr(live.platform, "system", lambda: "Windows")
    (frame,) = Camera("0").frames(print)
    assert data_of(frame) == "cameras are read on Linux and Darwin; here, give an address of the camera's stream"
