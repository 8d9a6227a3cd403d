"""Ctrl-C and SIGTERM: commands leave at the first, with what is finished, one line and the signal's code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import start_process

REPOSITORY = Path(__file__).parents[2]
BUNDLE = REPOSITORY / "tests/data/before"
IMAGE = REPOSITORY / "export/pictures/0.jpg"
PATIENCE = 120  # seconds for what takes one
Start = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its signals are others")
each_signal = pytest.mark.parametrize(
    ("number", "line"), [(signal.SIGINT, "Error: interrupted\n"), (signal.SIGTERM, "Error: terminated\n")]
)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts Python programs with pipes; at the end, none is left."""
    started = []

    def run(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, *map(str, arguments)]
        process = start_process(command, env=environment, **{**pipes, **options})
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@each_signal
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_infer_leaves_with_whole_rows(start: Start, number: int, line: str, backend: str) -> None:
    options = ("--bundle", BUNDLE, "--precision", "fp32", "--backend", backend, "--batch", "1", "--json")
    process = start("-m", "sacvit_deploy", "infer", *[IMAGE] * 20_000, *options)
    row = first_line(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, line)
    rows = (row + out).splitlines()
    assert 1 <= len(rows) < 20_000
    assert {json.loads(row)["label"] for row in rows} == {json.loads(row)["label"]}


@pytest.mark.slow
@each_signal
def test_eval_leaves_on_a_terminal(start: Start, number: int, line: str, tmp_path: Path) -> None:
    (tmp_path / "thing 0").mkdir()
    for copy in range(5_000):
        (tmp_path / "thing 0" / f"{copy}.jpg").symlink_to(IMAGE)
    ours, its = os.openpty()
    process = start("-m", "sacvit_deploy", "eval", BUNDLE, "--data", tmp_path, "--precision", "fp32", stderr=its)
    os.close(its)
    shown = b""
    while b" left" not in shown:  # its progress, once it computes
        shown += os.read(ours, 1 << 16)
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (128 + number, "")
    shown = b""
    while not shown.endswith(line.replace("\n", "\r\n").encode()):
        shown += os.read(ours, 1 << 16)  # ends in an error where nobody writes any more
    os.close(ours)
    assert b"Traceback" not in shown


# `job` is what the command does; it has said "ready" by then.
PROGRAM = """
import click, threading, time
from sacvit_deploy.commands.common import run_command
from sacvit_deploy.errors import BackendError

@click.command()
def command():
    print("ready", flush=True)
    {job}

run_command(command)
"""


@each_signal
@pytest.mark.parametrize(
    "job",
    [
        "threading.Thread(target=time.sleep, args=(10_000,)).start(); time.sleep(10_000)",
        # As libraries in C do that are interrupted while they are imported.
        "try: time.sleep(10_000)\n    except BaseException: raise BackendError('can not be loaded') from None",
        "try: time.sleep(10_000)\n    except BaseException: pass",
    ],
    ids=["a thread that never ends", "an error instead", "nothing instead"],
)
def test_nothing_keeps_it(start: Start, number: int, line: str, job: str) -> None:
    process = start("-c", PROGRAM.format(job=job))
    assert first_line(process) == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, line)


def test_a_second_signal_ends_what_is_stuck(start: Start) -> None:
    waiting = "print('within', flush=True); time.sleep(10_000)"
    tidying = "print('tidying', flush=True); time.sleep(10_000)"
    process = start("-c", PROGRAM.format(job=f"try: {waiting}\n    finally: {tidying}"))
    assert [first_line(process), first_line(process)] == ["ready\n", "within\n"]
    process.send_signal(signal.SIGINT)
    assert first_line(process) == "tidying\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (-signal.SIGINT, "")


def test_an_ignored_interrupt_stays_ignored(start: Start) -> None:
    ignoring = (
        "import signal, os, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    job = "time.sleep(1); print('still here', flush=True); time.sleep(10_000)"
    process = start("-c", ignoring, sys.executable, "-c", PROGRAM.format(job=job))
    assert first_line(process) == "ready\n"
    process.send_signal(signal.SIGINT)
    assert first_line(process) == "still here\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "Error: terminated\n")


def test_a_stream_of_a_users_program_leaves(start: Start) -> None:
    program = f"""
from sacvit_deploy import SACViT
model = SACViT({str(BUNDLE)!r}, precision="fp32")
try:
    for p in model.stream([{str(IMAGE)!r}] * 100_000, batch_size=64, workers=4):
        print(p.label, flush=True)
except KeyboardInterrupt:
    print("stopped")
"""
    process = start("-c", program)
    first_line(process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("stopped\n")
