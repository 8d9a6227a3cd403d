"""Opening a bundle: nothing reaches a backend before its hash is checked."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sacvit_deploy.bundle.held import Held, hold
from sacvit_deploy.bundle.manifest import FileEntry, Manifest, Variant, read_manifest
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.regular import open_regular

SUFFIX = ".sacvit"
MANIFEST = "manifest.json"
RELABEL = "give the classes their names anew with `sacvit relabel`"
PLANS = "plans"
LABELS_LIMIT = 64 << 20  # bytes
TRIES = 10  # with half a second of pauses between them
RECENT = 2.0  # seconds that somebody who replaces a folder may be between two renames
T = TypeVar("T")


@dataclass(frozen=True)
class Bundle:
    """Opened bundle whose manifest and labels are checked; engine files are checked when a variant is opened."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]

    def variant(self, precision: str) -> Variant:
        """Return the variant of a precision. Raises BundleError that names the variants there are, UsageError."""
        variants = self.manifest.variants
        if precision not in PRECISIONS:
            raise UsageError(f"unknown precision {precision!r:.80}; there are: auto, {', '.join(PRECISIONS)}")
        if precision not in variants:
            have = ", ".join(variants) or "none"
            # fp32 is in every export: without it, the bundle was packed.
            remedy = (
                "take the bundle that it was packed from" if precision == "fp32" else f"export it with --{precision}"
            )
            raise BundleError(f"{self.path} has no {precision} variant (it has {have}); {remedy}")
        return variants[precision]

    def checked_files(self, precision: str, *, for_gpu: bool = False) -> dict[str, Path]:
        """Return a variant's file paths by role (`ee`, `sac`, `weights`), after checking sizes and hashes.

        for_gpu: the engines laid out for a GPU, where the variant has them, for ONNX Runtime's CUDA provider alone.
        """
        files = self.variant(precision).engine_files(for_gpu=for_gpu)
        for entry in files.values():
            check_file(self.path, entry)
        return {role: self.path / entry.path for role, entry in files.items()}

    def held_files(self, precision: str, *, for_gpu: bool = False) -> dict[str, Held]:
        """Read a variant's files into memory, by role as `checked_files`, checking sizes and hashes on the way."""
        files = self.variant(precision).engine_files(for_gpu=for_gpu)
        return {role: hold(self.path / entry.path, entry) for role, entry in files.items()}

    def entries(self) -> list[FileEntry]:
        """List every file in the manifest, each once."""
        listed = [entry for variant in self.manifest.variants.values() for entry in variant.files.values()]
        return list({entry.path: entry for entry in [self.manifest.labels, self.manifest.golden, *listed]}.values())


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open the bundle folder at `path`, which may be replaced meanwhile. Raises BundleError."""
    return read_steadily(path, lambda bundle: bundle)


def read_steadily(path: str | os.PathLike[str], read: Callable[[Bundle], T]) -> T:
    """Open the bundle folder at `path` and return what `read` makes of it.

    Where that raises BundleError and the folder is not what it was before, both begin anew, up to TRIES times: a writer
    that replaces the folder by renames leaves an instant without one, and whole bundles before and after. A folder that
    is not there is waited for only where names beside it changed just now: a mistyped path is an error at once.
    """
    folder = Path(path)
    for number in range(TRIES):
        before = _state(folder)
        try:
            return read(_read_bundle(folder))
        except BundleError:
            settled = _state(folder) == before and (before is not None or not _names_changed(folder))
            if number == TRIES - 1 or settled:
                raise
        time.sleep(0.001 * 2**number)
    raise AssertionError  # the last try returned or raised


def _state(folder: Path) -> tuple[int, ...] | None:
    """Return numbers that change when a folder, its manifest or one of its plans is replaced; None without a folder."""
    facts: list[int] = []
    for path in (folder, folder / MANIFEST, folder / PLANS):
        try:
            found = path.stat()
        except OSError:
            continue
        facts += [found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
    return tuple(facts) or None


def _names_changed(missing: Path) -> bool:
    """Tell whether names were put or taken just now where a missing folder, or what a link to it leads to, would be."""
    for path in {missing.absolute(), Path(os.path.realpath(missing))}:
        for place in path.parents:
            try:
                changed = place.stat().st_mtime
            except OSError:  # it is missing, too, or nobody may look
                continue
            # A time to come counts, too: the file server's clock may be ahead.
            if time.time() - changed < RECENT:
                return True
            break
    return False


def _read_bundle(folder: Path) -> Bundle:
    manifest = open_manifest(folder)
    return Bundle(folder, manifest, _read_labels(folder, manifest))


def open_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle folder, and no other file of it. Raises BundleError."""
    try:
        state = "" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
    except OSError as error:
        raise BundleError(f"can't read {folder}: {error.strerror or error}") from error
    if state:
        raise BundleError(f"{folder} {state}; a bundle is a folder NAME{SUFFIX}, written by sacvit-export")
    return read_manifest(folder / MANIFEST)


def _read_labels(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    path, classes = folder / manifest.labels.path, manifest.config.geometry.classes
    if manifest.labels.bytes > LABELS_LIMIT:
        raise BundleError(f"{path} has more than {LABELS_LIMIT:,} bytes; no names of classes are as long")
    try:
        labels = tuple(bytes(hold(path, manifest.labels, RELABEL)).decode().splitlines())
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not UTF-8 text") from error
    if len(labels) != classes:
        raise BundleError(f"{folder}: {len(labels)} labels for {classes} classes")
    return labels


def check_file(folder: Path, entry: FileEntry, remedy: str = "export the bundle again") -> None:
    """Check that a file has the size and hash of its entry. Raises BundleError, whose message ends with `remedy`."""
    path = folder / entry.path
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(f"{path} has {size} bytes instead of {entry.bytes}; {remedy}")
        actual = hash_file(path)
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing; {remedy}") from error
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror}") from error
    if actual != entry.sha256:
        raise BundleError(f"{path} was changed after it was written (its hash differs); {remedy}")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal. Raises OSError, also for what is no regular file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_file(path: Path) -> FileEntry:
    """Return the manifest's entry for a written file."""
    return FileEntry(path.name, hash_file(path), path.stat().st_size)
