"""What is carried: archives that come out as they went in, no more than fits, packages that come first."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sacvit_deploy.benchmarks.gpu_check import carried
from sacvit_deploy.benchmarks.gpu_check.carried import EXAMPLE, PACKAGES, SPEED, bring, environment, pack, unpack
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.errors import UsageError
from tests.data import record


def test_bundles_and_packages(tmp_path: Path) -> None:
    size = pack(tmp_path / "carried", {SPEED: record.BEFORE, EXAMPLE: record.BEFORE})
    assert 0 < size < 1 << 20
    package = tmp_path / "pillow_of_ours.py"
    package.write_text("answer = 42\n")
    with tarfile.open(tmp_path / "carried" / PACKAGES / "ours.txz", "w:xz") as archive:
        archive.add(package, package.name)
    package.unlink()
    speed, example, packages = unpack(tmp_path / "carried", tmp_path / "work")
    for bundle in (speed, example):
        assert open_bundle(bundle).checked_files("fp32")
    program = "import pillow_of_ours as ours, sacvit_deploy; print(ours.answer)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(packages), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "42"
    # What is unpacked stays.
    (speed / "labels.txt").unlink()
    unpack(tmp_path / "carried", tmp_path / "work")
    assert not (speed / "labels.txt").exists()


def test_a_package_in_pieces(tmp_path: Path) -> None:
    """Each in a call of its own; the last call needs no bundles, as they are unpacked already."""
    pack(tmp_path / "first", {SPEED: record.BEFORE, EXAMPLE: record.BEFORE})
    package = tmp_path / "large_package.py"
    package.write_text("answer = 43\n")
    with tarfile.open(tmp_path / "large.txz", "w:xz") as archive:
        archive.add(package, package.name)
    data, work = (tmp_path / "large.txz").read_bytes(), tmp_path / "work"
    for number, part in enumerate((data[:50], data[50:])):
        folder = tmp_path / f"piece {number}" / PACKAGES
        folder.mkdir(parents=True)
        (folder / f"large.txz.{number}of2").write_bytes(part)
    unpack(tmp_path / "first", work)
    assert bring(tmp_path / "piece 0", work) == []
    assert not (work / PACKAGES / "large_package.py").exists()
    packages = unpack(tmp_path / "piece 1", work)[2]
    assert (packages / "large_package.py").read_text() == "answer = 43\n"


def test_too_much_and_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"speed\.sacvit\.txz is missing; make it with: gpu_check prepare"):
        unpack(tmp_path, tmp_path / "work")
    monkeypatch.setattr(carried, "MOST", 1000)
    with pytest.raises(UsageError, match="can be carried; leave out something"):
        pack(tmp_path, {SPEED: record.BEFORE})
