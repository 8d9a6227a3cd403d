"""Exchanging two folders in one step, by the C library's name for it and by the system call's number."""

from __future__ import annotations

import ctypes
import errno
import sys
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.exchange import exchange

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has renameat2")


class WithoutTheName:
    """A C library from before renameat2, or one that never got it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.syscall = library.syscall


def file_system_can(folder: Path) -> bool:
    """Whether two folders can be exchanged here, by a call of this test's own."""
    pair = folder / "probe", folder / "probed"
    for path in pair:
        path.mkdir()
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    at_fdcwd, exchanging = -100, 2
    return call is not None and call(at_fdcwd, bytes(pair[0]), at_fdcwd, bytes(pair[1]), exchanging) == 0


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    pair = tmp_path / "one", tmp_path / "other"
    for path in pair:
        path.mkdir()
        (path / path.name).touch()
    return pair


@pytest.mark.parametrize("by", ["name", "number"])
def test_two_folders(by: str, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not file_system_can(tmp_path):
        pytest.skip("NOT RUN: this file system, or this C library, exchanges no folders")
    if by == "number":
        real = ctypes.CDLL
        monkeypatch.setattr(ctypes, "CDLL", lambda name, **options: WithoutTheName(real(name, **options)))
    one, other = folders
    assert exchange(one, other)
    assert (one / "other").exists() and (other / "one").exists()
    with pytest.raises(FileNotFoundError):
        exchange(one, other.with_name("missing"))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_systems_that_can_not_do_nothing(
    number: int, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        def renameat2(self, *arguments: Any) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda name, **options: Old())
    assert not exchange(*folders)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not exchange(*folders)
    assert all((path / path.name).exists() for path in folders)
