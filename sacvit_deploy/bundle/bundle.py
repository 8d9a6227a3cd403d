"""Opening a bundle: nothing reaches a backend before its hash is checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from sacvit_deploy.bundle.manifest import FileEntry, Manifest, Variant, read_manifest
from sacvit_deploy.errors import BundleError

SUFFIX = ".sacvit"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Bundle:
    """Opened bundle whose manifest and labels are checked; engine files are checked when a variant is opened."""

    path: Path
    manifest: Manifest
    labels: tuple[str, ...]

    def variant(self, precision: str) -> Variant:
        """Return the variant of a precision. Raises BundleError that names the variants there are."""
        variants = self.manifest.variants
        if precision not in variants:
            have = ", ".join(variants) or "none"
            raise BundleError(f"{self.path} has no {precision} variant (it has {have}); export it with --{precision}")
        return variants[precision]

    def checked_files(self, precision: str) -> dict[str, Path]:
        """Return a variant's file paths by role (`ee`, `sac`, `weights`), after checking sizes and hashes."""
        files = self.variant(precision).files
        for entry in files.values():
            check_file(self.path, entry)
        return {role: self.path / entry.path for role, entry in files.items()}

    def entries(self) -> list[FileEntry]:
        """List every file in the manifest, each once."""
        listed = [entry for variant in self.manifest.variants.values() for entry in variant.files.values()]
        return list({entry.path: entry for entry in [self.manifest.labels, self.manifest.golden, *listed]}.values())


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Open the bundle folder at `path`. Raises BundleError."""
    folder = Path(path)
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        raise BundleError(f"{folder} {state}; a bundle is a folder NAME{SUFFIX}, written by sacvit-export")
    manifest = read_manifest(folder / MANIFEST)
    check_file(folder, manifest.labels)
    try:
        labels = tuple((folder / manifest.labels.path).read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError as error:
        raise BundleError(f"{folder / manifest.labels.path} is not UTF-8 text") from error
    if len(labels) != manifest.config.geometry.classes:
        raise BundleError(f"{folder}: {len(labels)} labels for {manifest.config.geometry.classes} classes")
    return Bundle(folder, manifest, labels)


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
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_file(path: Path) -> FileEntry:
    """Return the manifest's entry for a written file."""
    return FileEntry(path.name, hash_file(path), path.stat().st_size)
