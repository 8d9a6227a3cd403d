"""`sacvit infer` on what is no image file: videos, pipes, streams and addresses, from end to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sacvit_deploy.sources.videos import need_av, stills, write_video
from tests.web_servers import Server, motion_jpeg, pictures, redirects, sends, serving

BUNDLE = Path(__file__).parents[2] / "examples/int8/model.sacvit"
JPEGS = [path.read_bytes() for path in pictures()]
RATE = 25
CLIP = [JPEGS[number % len(JPEGS)] for number in range(RATE)]  # a second
LATENCY = re.compile(
    r"(\d+) frames: (\d+) answered, (\d+) dropped(?:, (\d+) failed)?; from arrival to answer p50 \d+ ms, p99 \d+ ms"
)


@pytest.fixture
def infer(command: Any) -> Any:
    """Runs `sacvit-infer` on the example bundle, with no proxy before this machine."""

    def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = command(
            "sacvit-infer", *arguments, "--bundle", BUNDLE, env={"no_proxy": "*"}, **options
        )
        return done

    return run


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/a.jpg": sends(JPEGS[0]), "/loop": redirects("/loop")}) as started:
        started.answers["/live"] = motion_jpeg(CLIP, lambda: started, rate=RATE, ends=True)
        started.answers["/breaks"] = motion_jpeg(CLIP[:10], lambda: started, rate=RATE, ends=False)
        yield started


def feed(fifo: Path, frames: list[bytes]) -> threading.Thread:
    """Write frames into a FIFO in real time."""

    def write() -> None:
        start = time.monotonic()
        with fifo.open("wb", buffering=0) as file:
            for number, data in enumerate(frames, 1):
                file.write(data)
                time.sleep(max(0.0, start + number / RATE - time.monotonic()))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


def counted(text: str) -> tuple[int, int, int]:
    """The frames, answers and drops that a run told of."""
    found = LATENCY.search(text)
    assert found is not None, text
    assert found[4] is None
    return int(found[1]), int(found[2]), int(found[3])


# --- pipes


@pytest.mark.parametrize("keep", ["all", "latest"])
def test_a_pipe_in_real_time(infer: Any, tmp_path: Path, keep: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = feed(fifo, CLIP)
    done = infer(fifo, "--json", "--keep", keep)
    writer.join(60)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    frames, answered, dropped = counted(done.stderr)
    assert frames == len(CLIP) == answered + dropped
    assert len(rows) == answered and (keep == "latest" or dropped == 0)
    assert [row["frame"] for row in rows] == sorted({row["frame"] for row in rows})
    assert rows[-1]["frame"] == len(CLIP) - 1  # the newest is never dropped
    by_frame = {row["frame"]: row["label"] for row in rows}
    whole = infer(*pictures(), "--json")
    labels = [json.loads(line)["label"] for line in whole.stdout.splitlines()]
    assert by_frame == {frame: labels[frame % len(JPEGS)] for frame in by_frame}


def test_standard_input(command: Any, tmp_path: Path) -> None:
    process = command.start("sacvit-infer", "-", "--bundle", BUNDLE, "--json")
    process.communicate(timeout=300)  # nothing at all
    assert process.returncode == 1
    path = tmp_path / "two.mjpeg"
    path.write_bytes(JPEGS[0] + JPEGS[1])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    call = [sys.executable, "-m", "sacvit_deploy", "infer", "-", "--bundle", str(BUNDLE), "--json"]
    with path.open("rb") as file:
        done = subprocess.run(call, stdin=file, capture_output=True, text=True, env=environment, timeout=300)
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == ["-", "-#frame 1"]


# --- streams


def test_a_live_stream(infer: Any, server: Server, tmp_path: Path) -> None:
    """Every frame is answered or counted as dropped, in rows, in a file and in the last line."""
    done = infer(server.url("/live"), "--csv", tmp_path / "out.csv")
    frames, answered, dropped = counted(done.stdout)
    assert frames == len(CLIP) == answered + dropped and answered > 1
    assert len((tmp_path / "out.csv").read_text().splitlines()) == answered + 1
    assert len(done.stdout.splitlines()) == 1 + answered + 2
    assert done.stdout.splitlines()[-1].startswith(f"{frames} images; ")


@pytest.mark.slow
def test_a_stream_that_breaks_is_reconnected(infer: Any, server: Server) -> None:
    done = infer(server.url("/breaks"), "--json", "--keep", "all", "--reconnect", "0")
    assert counted(done.stderr) == (10, 10, 0)
    server.answers["/breaks-once"] = server.answers["/breaks"]

    def then_gone(request: Any) -> None:
        del server.answers["/breaks-once"]
        server.answers["/breaks"](request)

    server.answers["/breaks-once"] = then_gone
    done = infer(server.url("/breaks-once"), "--json", "--keep", "all", "--reconnect", "1", expect=1)
    *rows, last = map(json.loads, done.stdout.splitlines())
    assert [row["frame"] for row in rows] == list(range(10))
    assert "is gone, after 1 attempts to reach it again" in last["error"] and "404" in last["error"]
    assert "trying again in 1 s, attempt 1 of 1" in done.stderr
    assert "11 frames: 10 answered, 0 dropped, 1 failed" in done.stderr


def test_a_live_run_is_stopped(command: Any, server: Server) -> None:
    """Ctrl-C, the usual end of a camera's run, tells what there was."""
    endless = motion_jpeg(CLIP * 100, lambda: server, rate=RATE, ends=True)
    server.answers["/endless"] = endless
    process = command.start("sacvit-infer", server.url("/endless"), "--bundle", BUNDLE, env={"no_proxy": "*"})
    for _ in range(12):
        assert process.stdout is not None and process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "frames: " in out.splitlines()[-1] and " dropped; from arrival to answer p50 " in out.splitlines()[-1]
    assert err.splitlines()[-1] == "Error: interrupted"


# --- addresses and lists


def test_bad_addresses_cost_only_themselves(infer: Any, server: Server, tmp_path: Path) -> None:
    lines = [server.url("/a.jpg"), server.url("/none.jpg"), server.url("/loop"), "ftp://host/a.jpg", str(pictures()[0])]
    (tmp_path / "list.txt").write_text("\n".join(["# five", *lines]))
    done = infer(tmp_path / "list.txt", "--json", expect=1)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["source"] for row in rows] == lines
    assert rows[0]["probability"] == pytest.approx(rows[4]["probability"], abs=1e-4)
    assert rows[1]["error"] == f"{lines[1]} answered 404 Not Found"
    assert "redirects without end" in rows[2]["error"] and "addresses of ftp are not read" in rows[3]["error"]


def test_drawings_of_what_cant_be_read_twice(infer: Any, server: Server, tmp_path: Path) -> None:
    done = infer(server.url("/a.jpg"), pictures()[0], "--save", tmp_path / "drawn")
    assert f"saved: {tmp_path / 'drawn'}" in done.stdout
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == sorted([f"{pictures()[0].stem}.png", "a.png"])
    assert server.asked == ["/a.jpg"]  # once


# --- videos


def test_a_video_in_and_out(infer: Any, tmp_path: Path) -> None:
    av = need_av()
    clip = write_video(tmp_path / "clip.mp4", stills(30))
    done = infer(clip, "--json", "--save", tmp_path / "out.mp4")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["source"] for row in rows] == [f"{clip}#frame {number}" for number in range(30)]
    assert [row["time"] for row in rows] == pytest.approx([number / RATE for number in range(30)])
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([row["time"] for row in rows], abs=0.001)
    assert (frames[0].width, frames[0].height) == (448, 492)
    assert "saved" not in done.stderr


def test_a_broken_video_costs_only_its_rest(infer: Any, tmp_path: Path) -> None:
    need_av()
    clip = write_video(tmp_path / "clip.mkv", stills(75))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    done = infer(clip, pictures()[0], "--csv", tmp_path / "out.csv", "--save", tmp_path / "drawn", expect=1)
    rows = (tmp_path / "out.csv").read_text().splitlines()[1:]
    assert len(rows) > 10
    assert ["breaks off after" in row for row in rows] == [False] * (len(rows) - 2) + [True, False]
    assert done.stderr.count("Error: ") == 1 and f"{clip} breaks off after {len(rows) - 2} frames" in done.stderr
    assert f"{len(rows)} images; 1 failed; " in done.stdout
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == sorted(
        ["clip.mp4", f"{pictures()[0].stem}.png"]
    )


def test_a_resumed_video_goes_on_at_its_next_frame(infer: Any, tmp_path: Path) -> None:
    need_av()
    clip = write_video(tmp_path / "clip.mp4", stills(20))
    out = tmp_path / "out.jsonl"
    infer(clip, "--jsonl", out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    done = infer(clip, "--jsonl", out, "--resume")
    assert [json.loads(line)["frame"] for line in out.read_text().splitlines()] == list(range(20))
    assert " answered before" in done.stdout


def test_each_nth_frame(infer: Any, server: Server, tmp_path: Path) -> None:
    """Of a video and a pipe beside an image, and of a stream; resumed, it goes on with the same numbers."""
    need_av()
    clip, fifo, out = write_video(tmp_path / "clip.mp4", stills(20)), tmp_path / "fifo", tmp_path / "out.jsonl"
    os.mkfifo(fifo)
    writer = feed(fifo, CLIP[:8])
    done = infer(clip, fifo, pictures()[0], "--every", "6", "--json")
    writer.join(60)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row.get("frame"), row["position"]) for row in rows] == [
        (0, 0), (6, 1), (12, 2), (18, 3), (0, 4), (6, 5), (None, 6),
    ]  # fmt: skip
    assert [row["time"] for row in rows[:4]] == pytest.approx([0, 6 / RATE, 12 / RATE, 18 / RATE])
    out.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1]) + "\n")
    infer(clip, "--every", "6", "--jsonl", out, "--resume")
    resumed = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["frame"], row["position"]) for row in resumed] == [(0, 0), (6, 1), (12, 2), (18, 3)]
    done = infer(server.url("/live"), "--every", "10", "--json", "--keep", "all")
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == [0, 10, 20]
    assert "3 frames: 3 answered, 0 dropped; " in done.stderr
    done = infer(*pictures()[:2], "--every", "2", expect=2)
    assert done.stderr == "Error: --every 2 is for videos, pipes and live sources; here are images alone\n"


def test_without_pyav(infer: Any, command: Any, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(50))
    done = infer(tmp_path / "clip.mp4", pictures()[0], "--json", expect=1, forbid=("av",))
    failed, answered = map(json.loads, done.stdout.splitlines())
    assert failed["error"].startswith(f"can't read {tmp_path / 'clip.mp4'}: PyAV")
    assert failed["error"].endswith("install it with: pip install 'sacvit-deploy[video]'")
    assert answered["label"]
    command.notes.unlink()  # it was asked for, by the video
    infer(pictures()[0], "--save", tmp_path / "out", forbid=("av",))


# --- batches


def test_rows_do_not_wait_for_their_batch_to_fill(command: Any, server: Server) -> None:
    seen = threading.Event()

    def waits(request: Any) -> None:
        if seen.wait(8):  # less than the client's patience
            sends(JPEGS[1])(request)

    server.answers["/late.jpg"] = waits
    call = [pictures()[0], server.url("/late.jpg"), "--batch", "256", "--bundle", BUNDLE, "--json"]
    process = command.start("sacvit-infer", *call, env={"no_proxy": "*"})
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    seen.set()
    out, _ = process.communicate(timeout=300)
    assert first["source"] == str(pictures()[0])
    assert "label" in json.loads(out)
