"""Kernels kept between processes: damaged, foreign and others' files are no kernels. NOT RUN on a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sacvit_deploy
from sacvit_deploy.backends.tensorrt.compat import KernelCache, find_kernel_file
from sacvit_deploy.backends.tensorrt.kernel_file import MOST, KernelFile, cache_folder, kernel_file
from sacvit_deploy.device import cuda as bindings
from sacvit_deploy.device.cuda import GPU

from .stand_ins import Cache, Config, Cuda, Memory, library
from .test_graphs import Setup

ROOT = Path(sacvit_deploy.__file__).parents[1]
FACTS = ("tensorrt-rtx", "1.7.1", "a GPU", "8.6", "13.0")
PLANS = [memoryview(b"the ee plan"), memoryview(b"the sac plan")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SACVIT_CACHE", str(tmp_path / "kept" / "deeper"))
    return tmp_path / "kept" / "deeper"


def kept(facts: tuple[str, ...] = FACTS, plans: list[memoryview] = PLANS) -> KernelFile:
    file = kernel_file(facts, plans)
    assert file is not None
    return file


def test_what_is_written_is_read_and_by_nobody_else(folder: Path) -> None:
    assert kept().read() is None
    kept().write(b"kernels")
    assert kept().read() == b"kernels"
    assert kept(plans=PLANS[::-1]).read() == b"kernels"
    for other in (kept(facts=(*FACTS[:-1], "13.1")), kept(plans=PLANS[:1]), kept(plans=[*PLANS, memoryview(b"")])):
        assert other.read() is None
    assert len(list(folder.iterdir())) == 1
    if os.name != "nt":
        assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"short", b"0" * 32 + b"kernels"])
def test_a_damaged_file_is_no_file(content: bytes) -> None:
    kept().write(b"kernels")
    kept().path.write_bytes(content)
    assert kept().read() is None
    kept().write(b"new kernels")
    assert kept().read() == b"new kernels"


def test_every_changed_byte_is_noticed() -> None:
    kept().write(b"kernels")
    whole = kept().path.read_bytes()
    for at in range(len(whole)):
        kept().path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert kept().read() is None


def test_a_file_of_other_plans_is_no_file() -> None:
    """Also under this one's name."""
    other = kept(plans=PLANS[:1])
    other.write(b"kernels")
    other.path.rename(kept().path)
    assert kept().read() is None


@pytest.mark.skipif(os.name == "nt", reason="Windows tells no modes")
def test_a_folder_that_others_may_write_into_is_not_used(folder: Path) -> None:
    kept().write(b"kernels")
    folder.chmod(0o777)
    assert kept().read() is None
    with pytest.raises(PermissionError, match="others may write"):
        kept().write(b"kernels")


def test_old_files_go(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(MOST + 3):
        path = folder / f"{number}.kernels"
        path.write_bytes(b"")
        os.utime(path, (number, number))
    (folder / "something else").write_bytes(b"")
    kept().write(b"kernels")
    found = {path.name for path in folder.iterdir()}
    assert found == {kept().path.name, "something else", *(f"{number}.kernels" for number in range(4, MOST + 3))}


def test_where_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACVIT_CACHE", "off")
    assert cache_folder() is None and kernel_file(FACTS, PLANS) is None
    monkeypatch.delenv("SACVIT_CACHE")
    name = "LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME"
    monkeypatch.setenv(name, str(tmp_path))
    assert cache_folder() == tmp_path / "sacvit-deploy"
    monkeypatch.setenv(name, "relative")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "sacvit-deploy"

    def nobody() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder() is None


def test_plans_of_tensorrt_have_their_kernels() -> None:
    gpu = GPU("a GPU", "8.6", 1, "13.0", "13.0")
    assert find_kernel_file(library("tensorrt"), gpu, PLANS) is None
    assert find_kernel_file(library("tensorrt-rtx"), gpu, PLANS) is not None


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    stand_in = Cuda()
    monkeypatch.setattr(bindings, "load_library", lambda: stand_in)
    return stand_in


def run(cuda: Cuda, file: KernelFile | None) -> int:
    """Be a process: run two shapes, save; returns how many had to be compiled."""
    setup = Setup(cuda, "tensorrt-rtx", KernelCache(file))
    for rows in (8, 3):
        setup.call(setup.tensors(rows), 1)
    setup.kernels.save(setup.memory)
    return setup.plan.compiled


def test_the_second_process_compiles_nothing(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(cuda, kept()) == 2
    written = kept().path.stat().st_ino
    assert run(cuda, kept()) == 0
    assert kept().path.stat().st_ino == written  # nothing new, nothing written
    assert run(cuda, None) == 2
    kept().path.write_bytes(b"damage")
    assert run(cuda, kept()) == 2
    assert run(cuda, kept()) == 0
    # The library refuses what is of another driver than its key tells; then its own takes the place.
    monkeypatch.setattr(Cache, "driver", "another")
    assert run(cuda, kept()) == 2
    assert run(cuda, kept()) == 0


def test_a_folder_that_can_not_be_written_costs_time_alone(cuda: Cuda, folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_bytes(b"a file in the folder's place")
    assert run(cuda, kept()) == run(cuda, kept()) == 2


def test_nothing_was_run_or_another_process_saves(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    KernelCache(kept()).save(Memory(cuda))
    cache = KernelCache(kept())
    cache.join(library("tensorrt-rtx"), Config())
    monkeypatch.setattr("os.getpid", lambda: 1)
    cache.save(Memory(cuda))
    assert not kept().path.exists()


PROCESS = """
import sys
from pathlib import Path
import numpy as np
from sacvit_deploy.backends.tensorrt import device
from sacvit_deploy.device import cuda as bindings
from sacvit_deploy.device.cuda import GPU
from tests.sacvit_deploy.tensorrt.stand_ins import Cuda, Engine, Memory, library

cuda = Cuda()
bindings.load_library = lambda: cuda
memory = Memory(cuda)
memory.gpu = GPU("a GPU", "8.6", 1, "13.0", "13.0")
device.CudaMemory = lambda number: memory
plan = Engine(cuda)
kept_for_ever = opened = device.TensorRTDevice(library("tensorrt-rtx", plan), {"ee": Path(sys.argv[1])})
tensors = {name: memory.allocate((3, size), np.dtype(np.float32)) for name, size in (("image", 4), ("logits", 1))}
opened.engine("ee", 1).enqueue(tensors, 1)
print(plan.compiled)
"""


def test_a_process_that_ends_leaves_its_kernels_to_the_next(tmp_path: Path, folder: Path) -> None:
    """With the device's own finalizer: nobody closes a model at the end of a program."""
    (tmp_path / "ee.plan").write_bytes(b"the ee plan")
    call = [sys.executable, "-c", PROCESS, str(tmp_path / "ee.plan")]
    done = [subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300) for _ in range(2)]
    assert [(one.stdout, one.stderr) for one in done] == [("1\n", ""), ("0\n", "")]
    assert len(list(folder.glob("*.kernels"))) == 1
