"""Changing the class names of a bundle, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST, Bundle, check_file, open_manifest
from sacvit_deploy.bundle.label_file import NOTE, check_names
from sacvit_deploy.bundle.manifest import FileEntry, Manifest
from sacvit_deploy.bundle.write import changing
from sacvit_deploy.errors import BundleError, LabelError
from sacvit_deploy.files import whole_file

FILES = re.compile(r"labels-[0-9a-f]{12}\.txt")


def write_labels(bundle: Path, labels: Sequence[str], reason: str) -> bool:
    """Give the classes of a bundle folder new names, and note the reason in its provenance; False if it has them.

    The names go into a new file, called after its content; only then the manifest that names it replaces the old one,
    by a rename; last the old file goes. So whoever opens the bundle, also after this was killed anywhere, finds the old
    names or the new. Engines and plans stay, for neither knows names. The old file may be missing or changed. Raises
    LabelError for names that do not fit, BundleError for a damaged manifest or a bundle that can't be written.
    """
    open_manifest(bundle)  # what is no bundle is not written to
    reason = " ".join(reason.split())
    told = [NOTE + note for note in (reason, *check_names(labels, reason))]
    try:
        with changing(bundle) as folder:
            manifest = open_manifest(folder)
            if len(labels) != manifest.config.geometry.classes:
                classes = manifest.config.geometry.classes
                raise LabelError(f"{len(labels)} labels for {classes} classes; give each class one")
            content = "".join(f"{label}\n" for label in labels).encode()
            return _write(folder, manifest, content, told)
    except OSError as error:
        raise BundleError(f"can't write to {bundle}: {error.strerror}; its labels are unchanged") from error


def broken_labels(bundle: Path, manifest: Manifest) -> str | None:
    """Return what is wrong with a bundle's file of labels, None where it is whole.

    Where it is missing or was edited by hand, the other files may have been touched, too, so they are checked. Raises
    BundleError for one that is damaged.
    """
    try:
        check_file(bundle, manifest.labels)
    except BundleError as error:
        for entry in Bundle(bundle, manifest, ()).entries():
            if entry != manifest.labels:
                check_file(bundle, entry)
        return str(error).partition(";")[0]
    return None


def _write(folder: Path, manifest: Manifest, content: bytes, told: list[str]) -> bool:
    digest, old = hashlib.sha256(content).hexdigest(), manifest.labels
    name = old.path if digest == old.sha256 else f"labels-{digest[:12]}.txt"
    new = FileEntry(name, digest, len(content))
    if new == old and _is_whole(folder, old):
        return False
    with whole_file(folder / new.path, like=folder / MANIFEST, follow=False) as partial:
        partial.write_bytes(content)
    if new != old:
        notes = [note for note in manifest.provenance.get("notes", []) if not str(note).startswith(NOTE)]
        provenance = {**manifest.provenance, "notes": [*notes, *told]}
        changed = dataclasses.replace(manifest, labels=new, provenance=provenance)
        with whole_file(folder / MANIFEST, follow=False) as partial:
            partial.write_bytes(changed.to_bytes())
    for path in folder.iterdir():
        if path.name == old.path or FILES.fullmatch(path.name):
            _remove_unless(path, new.path)
    return True


def _is_whole(folder: Path, entry: FileEntry) -> bool:
    try:
        check_file(folder, entry)
    except BundleError:
        return False
    return True


def _remove_unless(path: Path, name: str) -> None:
    if path.name != name:
        with contextlib.suppress(OSError):  # a file too many harms nobody
            path.unlink()
