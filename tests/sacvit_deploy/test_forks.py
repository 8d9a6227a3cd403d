"""Children forked after a model was opened: they answer, and they leave by themselves.

Each case is a program of its own, as a fork of this process would take pytest and torch along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BUNDLE = REPOSITORY / "tests/data/before"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

# `child(job)` forks, runs the job there and ends as a program does, by the interpreter's own exit.
PRELUDE = """
import dataclasses, multiprocessing, os, pickle, signal, sys, threading, time
from pathlib import Path
from sacvit_deploy import BackendError, BundleError, SACViT, UsageError

BUNDLE, IMAGES = Path(sys.argv[1]), sorted(Path(sys.argv[2]).glob("*.jpg"))
OPTIONS = {"precision": "fp32", "backend": sys.argv[3], "threads": int(sys.argv[4])}
PATIENCE = 120  # seconds for a child that needs less than two


def child(job):
    pid = os.fork()
    if pid == 0:
        job()
        sys.exit(0)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"the child ended with {status}"
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child did not leave")


def raises(kind, words, job):
    try:
        job()
    except kind as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"no {kind.__name__}")


def answers(model, **options):
    return [(p.stage, p.label, p.targets is None) for p in model.stream(IMAGES, batch_size=3, **options)]


def same():
    assert answers(model, workers=2) == expected


if __name__ == "__main__":
    model = SACViT(BUNDLE, **OPTIONS)
    expected = answers(model)
    assert {stage for stage, *_ in expected} == {1, 2}
"""


def run_program(
    body: str, tmp_path: Path, bundle: Path = BUNDLE, backend: str = "onnxruntime", threads: int = 2
) -> None:
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    program = tmp_path / "program.py"
    program.write_text(PRELUDE + indented)
    images = REPOSITORY / "export/pictures"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        # Python 3.12 and later warn of every fork beside threads, those of the libraries, too.
        [sys.executable, "-W", "ignore::DeprecationWarning", program, bundle, images, backend, str(threads)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


OPEN_BEFORE = """
for repetition in range({repetitions}):
    child(same if repetition % 2 else lambda: model.predict(IMAGES[0], eta=1.0))
    child(lambda: None)  # a child that leaves the model alone
same()
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_children_answer_and_leave(backend: str, threads: int, tmp_path: Path) -> None:
    run_program(OPEN_BEFORE.format(repetitions=2), tmp_path, backend=backend, threads=threads)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("threads", [2, 4])
def test_twenty_children_answer_and_leave(backend: str, threads: int, tmp_path: Path) -> None:
    run_program(OPEN_BEFORE.format(repetitions=20), tmp_path, backend=backend, threads=threads)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("threads", [1, 4])
def test_forks_while_other_threads_compute(backend: str, threads: int, tmp_path: Path) -> None:
    body = """
busy = True
def compute():
    while busy:
        answers(model)
thread = threading.Thread(target=compute)
thread.start()
try:
    for repetition in range(10):
        time.sleep(0.003 * repetition)
        child(lambda: (same(), child(same)))  # and a child's child
finally:
    busy = False  # else a failure would hang here
    thread.join()
"""
    run_program(body, tmp_path, backend=backend, threads=threads)


def test_pools_of_processes_that_fork_and_that_spawn(tmp_path: Path) -> None:
    body = """
for method in ("fork", "spawn"):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert [p.label for p in pool.map(model.predict, IMAGES)] == [label for _, label, _ in expected], method
        pool.close()
        pool.join()
"""
    run_program(body, tmp_path)


def test_a_pickle_is_the_folder_and_the_options(tmp_path: Path) -> None:
    shutil.copytree(BUNDLE, tmp_path / "b.sacvit")
    (tmp_path / "elsewhere").mkdir()
    body = """
near = SACViT("b.sacvit", precision="fp16", threads=1, weights="mapped", scaled=True)
os.chdir("elsewhere")
other = pickle.loads(pickle.dumps(near))
assert (other.precision, other.backend.threads, other.backend.sessions.weights) == ("fp16", 1, "mapped")
assert other._how == near._how and other._how.scaled
assert answers(other) == answers(near)
child(lambda: answers(near))  # it finds its files from another folder, too
"""
    run_program(body, tmp_path)


def test_a_stream_is_not_continued_in_a_child(tmp_path: Path) -> None:
    body = """
for options in ({}, {"max_delay": 0}):
    stream = model.stream(IMAGES, batch_size=1, workers=2, **options)
    next(stream)
    child(lambda: raises(UsageError, "begun before the process was forked", lambda: list(stream)))
    child(lambda: stream.close())
    child(lambda: None)
    assert len(list(stream)) == len(IMAGES) - 1
"""
    run_program(body, tmp_path)


def test_a_child_answers_from_the_same_files_or_not_at_all(tmp_path: Path) -> None:
    bundle = shutil.copytree(BUNDLE, tmp_path / "b.sacvit")
    body = """
with open(BUNDLE / "ee.fp32.onnx", "ab") as file:
    file.write(b"!")
same()
child(lambda: raises(BundleError, "call reload() there", lambda: model.predict(IMAGES[0])))
child(lambda: raises(BundleError, "ee.fp32.onnx", model.reload))
os.truncate(BUNDLE / "ee.fp32.onnx", (BUNDLE / "ee.fp32.onnx").stat().st_size - 1)
child(lambda: (model.reload(), same()))
child(same)
"""
    run_program(body, tmp_path, bundle)


def test_a_device_is_refused_to_a_child(tmp_path: Path) -> None:
    body = """
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.stages.context_pool import ContextPool
files = model.backend.files(model.bundle, "fp32")
pool = ContextPool(OnnxRuntimeDevice(SessionFactory(4), files), model.config)
model.opened = dataclasses.replace(model.opened, on_host=None, pool=pool)
assert answers(model) == expected
child(lambda: raises(BackendError, "open SACViT in the child", lambda: model.predict(IMAGES[0])))
child(lambda: None)
assert answers(model) == expected
"""
    run_program(body, tmp_path)


def test_engines_without_a_way_back_are_refused(tmp_path: Path) -> None:
    body = """
from sacvit_deploy.cascade import Cascade
cascade = Cascade(model.backend, model.backend.files(model.bundle, "fp32"), model.config)
cascade.warm()
child(lambda: raises(BackendError, "open them in the child", cascade.warm))
"""
    run_program(body, tmp_path)


def test_forks_wait_for_work_that_they_would_break(tmp_path: Path) -> None:
    body = """
from sacvit_deploy.forks import no_fork
entered, may_leave, order = threading.Event(), threading.Event(), []
def work():
    with no_fork():
        entered.set()
        assert may_leave.wait(PATIENCE)
        with no_fork():  # goes on, although a fork waits
            order.append("worked")
thread = threading.Thread(target=work)
thread.start()
assert entered.wait(PATIENCE)
threading.Timer(0.5, may_leave.set).start()
child(lambda: order == ["worked"] or sys.exit(1))
thread.join()
with no_fork():  # the thread's own fork does not wait for itself
    child(same)
same()
"""
    run_program(body, tmp_path)
