"""Rounds of one command: forked, killed, and what it left checked."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle import write
from sacvit_deploy.commands.group import main
from sacvit_deploy.files import remove_leftovers
from sacvit_deploy.locks import LOCK
from tests.data import record
from tests.kills.kinds import Kind, prepare

# Audited calls that change names or files; `open` also comes before folders are flushed, right after each exchange.
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "shutil.rmtree"}
LEFT = 4  # hidden folders and locks at most: those of one killed run; the next one removes them


def hasten(name: str) -> None:
    """Import a command's libraries, keep what an export traces, and let a training save after every step."""
    import torch

    torch.set_num_threads(1)
    if name == "export":
        import onnx_ir as ir

        from sacvit_deploy.export import pipeline
        from sacvit_deploy.export.checkpoint import load_checkpoint

        model = load_checkpoint(str(record.TINY)).model
        stages = [pipeline.EEStage(model), pipeline.SACStage(model), pipeline.PlainDeiT(model)]
        glue = [stage(model.config, torch.float32) for stage in (pipeline.ViewStage, pipeline.GatherStage)]
        traced = {type(module): ir.to_proto(pipeline.trace(module)) for module in (*stages, *glue)}
        pipeline.trace = lambda module: ir.from_proto(traced[type(module)])
    if name == "train":
        from functools import partial

        from sacvit_deploy.training import train as training

        training.run_training = partial(training.run_training, save_minutes=0.0)


def kill_before(change: int, folder: Path) -> Callable[[], int]:
    """Kill this process before its `change`-th change below a folder; returns what counts them."""
    count = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in CHANGES and any(str(argument).startswith(str(folder)) for argument in arguments[:2]):
            count += 1
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    return lambda: count


def run(
    arguments: list[str], folder: Path, log: Path, *, seconds: float = 0, change: int = 0
) -> tuple[int, float, int]:
    """Run a command in a forked process, killed after `seconds` or before a change if these are not 0.

    Returns its exit status, negative for a signal, the seconds it ran, and the changes that it counted if it ended.
    """
    reader, writer = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            count = kill_before(change, folder)
            sys.argv = ["sacvit", *arguments]
            try:
                main()
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else 0
            sys.stdout.flush()
            sys.stderr.flush()
            os.write(writer, str(count()).encode())
        finally:
            os._exit(status)
    os.close(writer)
    if seconds:
        while (
            time.monotonic() - begin < seconds
            and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        ):
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    counted = os.read(reader, 20)
    os.close(reader)
    return os.waitstatus_to_exitcode(status), time.monotonic() - begin, int(counted or 0)


def left(folder: Path) -> list[str]:
    """List what writers left, of the folder's top and of the bundle."""
    found = [path for path in folder.rglob("*") if ".partial-" in path.name or path.name == LOCK]
    return sorted(path.relative_to(folder).as_posix() for path in found if ".partial-" not in path.parent.as_posix())


def kill_rounds(kind: Kind, rounds: int, seed: int, *, two_renames: bool) -> Iterator[str]:
    """Kill a command again and again in one folder; yields a line for each round. Raises AssertionError."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="sacvit-kills-") as place, replaced(two_renames):
        folder, log = Path(place) / "here", Path(place) / "log"
        folder.mkdir()
        prepare(folder)
        target = folder / kind.target
        hasten(kind.name)

        def undisturbed(number: int) -> tuple[float, int]:
            status, seconds, changes = run(kind.arguments(folder, number), folder, log)
            assert status == 0, log.read_text()
            assert left(folder) == [], left(folder)
            return seconds, changes

        undisturbed(0)  # slower than the others: what is compiled and cached is so from now on
        seconds, changes = undisturbed(1)
        old = kind.check(target)
        for number in range(2, rounds + 2):
            # Tidying up after the round before takes a while, and changes, before the command's own.
            late = {"seconds": rng.uniform(0, 1.2 * seconds), "change": rng.randint(1, changes + 20)}
            unit = ("change", "seconds")[number % 2]
            at = {unit: late[unit]}
            status, _, _ = run(kind.arguments(folder, number), folder, log, **at)
            assert status in (0, -signal.SIGKILL), (status, log.read_text())
            if two_renames and not target.exists():
                remove_leftovers(folder, kind.target)
            new = kind.check(target)
            remains = left(folder)
            assert len(remains) <= LEFT, remains
            state = "old" if new == old else "new"
            where = ", ".join(f"{unit} {moment:.3g}" for unit, moment in at.items())
            yield f"{kind.name}, {where}: {state}, {len(remains)} left"
            old = new
        undisturbed(rounds + 2)
        last = kind.check(target)
        undisturbed(rounds + 3)
        assert kind.check(target) != last, "the last run changed nothing"


@contextmanager
def replaced(two_renames: bool) -> Iterator[None]:
    exchange = write.exchange
    if two_renames:
        write.exchange = lambda one, other: False
    try:
        yield
    finally:
        write.exchange = exchange
