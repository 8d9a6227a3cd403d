"""Files held in memory: read once, checked on the way, and never again what the disk says."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.bundle.bundle import TRIES, Bundle, describe_file, open_bundle, read_steadily
from sacvit_deploy.bundle.held import CHUNK, hold, hold_all
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.errors import BundleError
from tests.data.record import BEFORE


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK - 1, CHUNK, 2 * CHUNK + 5])
def test_bytes_as_they_are(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.bin"
    content = np.random.default_rng(size).bytes(size)
    path.write_bytes(content)
    held = hold(path, FileEntry("a.bin", hashlib.sha256(content).hexdigest(), size))
    path.write_bytes(b"something else")
    assert bytes(held) == content and (held.name, held.path) == ("a.bin", path)
    assert not held.data.flags.writeable
    assert size == 0 or held.data.ctypes.data % 4096 == 0


def test_what_does_not_fit_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    entry = describe_file(path)
    path.write_bytes(b"012345678")
    with pytest.raises(BundleError, match="has 9 bytes instead of 10; make it anew"):
        hold(path, entry, "make it anew")
    path.write_bytes(b"0123456780")
    with pytest.raises(BundleError, match="changed after it was written .*; make it anew"):
        hold(path, entry, "make it anew")
    path.unlink()
    with pytest.raises(BundleError, match="missing; make it anew"):
        hold(path, entry, "make it anew")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="it is a folder, not a file"):
        hold(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BundleError, match="it is a FIFO, not a file"):
        hold(tmp_path / "fifo")


def test_paths_are_read_and_what_is_held_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    first = hold(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"second")
    both = hold_all({"old": first, "new": tmp_path / "a"})
    assert both["old"] is first and bytes(both["new"]) == b"second"


# --- a folder that is replaced while it is read


def damaged(folder: Path) -> Path:
    shutil.copytree(BEFORE, folder)
    (folder / "ee.fp32.onnx").write_bytes(b"damaged")
    return folder


def test_a_damaged_bundle_is_read_once(tmp_path: Path) -> None:
    calls = []

    def read(bundle: Bundle) -> object:
        calls.append(bundle)
        return bundle.held_files("fp32")

    with pytest.raises(BundleError, match=r"ee\.fp32\.onnx has 7 bytes"):
        read_steadily(damaged(tmp_path / "a.sacvit"), read)
    assert len(calls) == 1


def test_a_bundle_replaced_meanwhile_is_read_again(tmp_path: Path) -> None:
    folder, calls = damaged(tmp_path / "a.sacvit"), []

    def read(bundle: Bundle) -> dict[str, object]:
        calls.append(bundle)
        try:
            return dict(bundle.held_files("fp32"))
        finally:
            if len(calls) == 1:
                folder.rename(tmp_path / "old")
                shutil.copytree(BEFORE, folder)

    assert "ee" in read_steadily(folder, read)
    assert len(calls) == 2


def test_one_that_always_changes_ends_in_its_error(tmp_path: Path) -> None:
    folder, calls = damaged(tmp_path / "a.sacvit"), []

    def read(bundle: Bundle) -> object:
        calls.append(bundle)
        os.utime(folder, (len(calls), len(calls)))
        return bundle.held_files("fp32")

    with pytest.raises(BundleError, match=r"ee\.fp32\.onnx has 7 bytes"):
        read_steadily(folder, read)
    assert len(calls) == TRIES


def test_a_mistyped_path_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless names beside it changed just now, also where a link leads to it, or its parent is away, too."""
    paused: list[float] = []
    monkeypatch.setattr("sacvit_deploy.bundle.bundle.time.sleep", paused.append)
    place = tmp_path / "place"
    (place / "models").mkdir(parents=True)
    (tmp_path / "link.sacvit").symlink_to(place / "models" / "none.sacvit")
    paths = [place / "models" / "none.sacvit", place / "gone" / "none.sacvit", tmp_path / "link.sacvit"]
    tries = []
    for changed in (None, place / "models", place, tmp_path):
        for folder in (place / "models", place, tmp_path):
            age = 0 if folder == changed else 60
            os.utime(folder, (time.time() - age, time.time() - age))
        for path in paths:
            paused.clear()
            with pytest.raises(BundleError, match="does not exist"):
                open_bundle(path)
            tries.append(1 + len(paused))
    assert tries == [1, 1, 1, TRIES, 1, TRIES, 1, TRIES, 1, 1, 1, TRIES]


def test_a_folder_that_is_away_for_an_instant(tmp_path: Path) -> None:
    folder = tmp_path / "a.sacvit"
    shutil.copytree(BEFORE, tmp_path / "other")

    def put_back() -> None:
        time.sleep(0.05)
        (tmp_path / "other").rename(folder)

    writer = threading.Thread(target=put_back)
    writer.start()
    try:
        assert open_bundle(folder).path == folder
    finally:
        writer.join()
