"""The folder that is carried to the card: bundles and Python packages as archives, small enough for one call."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tarfile
from collections.abc import Mapping
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.files import whole_file

SPEED, EXAMPLE, PACKAGES = "speed.sacvit", "example.sacvit", "packages"
ARCHIVE = ".txz"
MOST = 60 << 20  # bytes


def pack(folder: Path, bundles: Mapping[str, Path]) -> int:
    """Write bundles into `folder`, as NAME.txz; returns its bytes. Raises UsageError for more than can be carried."""
    (folder / PACKAGES).mkdir(parents=True, exist_ok=True)
    for name, bundle in bundles.items():
        with tarfile.open(folder / (name + ARCHIVE), "w:xz", preset=6) as archive:
            for path in sorted(bundle.iterdir()):
                if path.is_file():  # not the plans, which are another GPU's
                    archive.add(path, path.name)
    return check_size(folder)


def check_size(folder: Path) -> int:
    """Return a folder's bytes. Raises UsageError for more than can be carried."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST:
        raise UsageError(
            f"{folder} has {size / 2**20:.0f} MiB, and {MOST >> 20} can be carried; leave out something of {PACKAGES}/"
        )
    return size


def unpack(folder: Path, work: Path) -> tuple[Path, Path, Path]:
    """Unpack what is not unpacked yet; returns both bundles and the packages' folder. Raises UsageError.

    The archives are one's own: `pack` wrote them, and packages are those that somebody put there to be run.
    """
    for name in (SPEED, EXAMPLE):
        archive = folder / (name + ARCHIVE)
        if not archive.is_file() and not _stamp(archive, work / name).exists():
            raise UsageError(f"{archive} is missing; make it with: gpu_check prepare {folder}")
        _extract(archive, work / name)
    packages = work / PACKAGES
    for archive in [*sorted((folder / PACKAGES).glob(f"*{ARCHIVE}")), *bring(folder, work)]:
        _extract(archive, packages)
    return work / SPEED, work / EXAMPLE, packages


def bring(folder: Path, work: Path) -> list[Path]:
    """Keep the pieces of a package that is too large for one call; returns the archives whose pieces are all there.

    A piece is NAME.txz.0of2, NAME.txz.1of2 and so on.
    """
    pieces = work / "pieces"
    pieces.mkdir(parents=True, exist_ok=True)
    for piece in (folder / PACKAGES).glob(f"*{ARCHIVE}.*of*"):
        shutil.copy(piece, pieces)
    whole = []
    for first in sorted(pieces.glob(f"*{ARCHIVE}.0of*")):
        name, count = first.name.rsplit(".0of", 1)
        parts = [pieces / f"{name}.{number}of{count}" for number in range(int(count))]
        if all(part.is_file() for part in parts):
            with whole_file(pieces / name) as partial, partial.open("wb") as joined:
                for part in parts:
                    joined.write(part.read_bytes())
            whole.append(pieces / name)
    return whole


def _stamp(archive: Path, target: Path) -> Path:
    """Return the file that is written once an archive is extracted."""
    return target.parent / f"{archive.name}.unpacked"


def _extract(archive: Path, target: Path) -> None:
    """Extract an archive unless its stamp is there, which is written last."""
    stamp = _stamp(archive, target)
    if stamp.exists():
        return
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:xz") as opened:
        opened.extractall(target, filter="data")
    stamp.write_text("")


def environment(packages: Path) -> dict[str, str]:
    """Return the environment of the steps: the packages come first; CUDA's libraries from their wheels are found."""
    path = [str(packages), *(entry for entry in sys.path if entry)]
    changed = {"PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    wheels = Path(sysconfig.get_path("purelib")) / "nvidia"
    folders = sorted({str(library.parent) for library in wheels.rglob("lib*.so*")})
    if folders:  # an ONNX Runtime that is carried looks for them beside itself
        changed["LD_LIBRARY_PATH"] = os.pathsep.join([*folders, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    return {**os.environ, **changed}
