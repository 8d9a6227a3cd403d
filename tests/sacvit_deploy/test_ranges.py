"""NVTX ranges: what a profiler gets of a stream, on the host and on a device; what is without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from sacvit_deploy.gate import gate
from sacvit_deploy.stages.device import DeviceStages
from tests.data import record

RECORDER = Path(__file__).with_name("nvtx_recorder.c")
ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "examples/pictures"
PROGRAM = """
import sys
from pathlib import Path
from sacvit_deploy import SACViT
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from tests.sacvit_deploy.device.late import put_on
model = SACViT(sys.argv[1], precision="fp32", threads=1)
if sys.argv[2] == "device":
    put_on(model, OnnxRuntimeDevice(SessionFactory(1), model.bundle.checked_files("fp32")))
sources = [*sorted(Path(sys.argv[3]).iterdir())[:5], "not there.jpg"]
answers = list(model.stream(sources, batch_size=3, eta=1.0, workers=2))
assert [type(answer).__name__ for answer in answers] == ["Prediction"] * 5 + ["ImageError"]
"""
WAIT = 120.0  # seconds, where few are expected


def run(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    clean = {name: value for name, value in os.environ.items() if name != "SACVIT_NVTX"}
    return subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=WAIT)


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("nvtx", reason="NOT TESTED: NVTX ranges; install nvtx")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("NOT TESTED: NVTX ranges; there is no cc here, and no profiler")
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, RECORDER], check=True)
    return library


@pytest.mark.parametrize("where", ["host", "device"])
def test_what_a_profiler_gets(where: str, recorder: Path, tmp_path: Path) -> None:
    recorded = tmp_path / "ranges"
    done = run(
        PROGRAM, record.BEFORE, where, PICTURES,
        SACVIT_NVTX="1", NVTX_INJECTION64_PATH=str(recorder), NVTX_RECORD=str(recorded),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    open_ranges: dict[str, list[str]] = defaultdict(list)  # by thread
    names: Counter[str] = Counter()
    inside: dict[str, set[str]] = defaultdict(set)
    for line in recorded.read_text().splitlines():
        sign, thread, *rest = line.split(" ", 2)
        if sign == "+":
            name = rest[0].removeprefix("sacvit: ")
            assert name != rest[0]
            names[name] += 1
            inside[name].add(open_ranges[thread][-1] if open_ranges[thread] else "")
            open_ranges[thread].append(name)
        else:
            open_ranges[thread].pop()
    assert not any(open_ranges.values())  # all have ended, of the image that failed, too
    batches = {"stage 1": 2, "gate": 2, "stage 1, wait": 2, "gather": 2, "stage 2": 2, "answer": 2, "stage 2, wait": 2}
    assert names == {"decode": 6, **batches}
    assert inside == {
        "decode": {""}, "stage 1": {""}, "gate": {""}, "stage 1, wait": {"gate"}, "gather": {"gate"},
        "stage 2": {""}, "answer": {""}, "stage 2, wait": {"answer"},
    }  # fmt: skip


def test_without_being_asked_nothing_is_wrapped() -> None:
    if os.environ.get("SACVIT_NVTX", "") in ("", "0"):
        assert not hasattr(gate, "__wrapped__") and not hasattr(DeviceStages.enqueue_stage1, "__wrapped__")
    done = run("import sys, sacvit_deploy, sacvit_deploy.scheduler; assert 'nvtx' not in sys.modules", SACVIT_NVTX="0")
    assert done.returncode == 0, done.stderr


def test_without_the_library_opening_says_what_to_install() -> None:
    program = "import sys; sys.modules['nvtx'] = None\nfrom sacvit_deploy.commands.group import main; main()"
    done = run(program, "infer", PICTURES, "--bundle", record.BEFORE, SACVIT_NVTX="1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: NVTX, which SACVIT_NVTX asks for, can't be loaded")
    assert done.stderr.endswith("install it with: pip install 'sacvit-deploy[nvtx]'\n")
