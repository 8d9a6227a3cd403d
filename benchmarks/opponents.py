"""The opponents' engines of one bundle and precision: found in a folder beside it, or exported into it.

They need torch once, on a workstation; a device takes the finished folder along, next to the bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sacvit_deploy.bundle.bundle import Bundle, check_file
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.errors import BundleError, ExportError

SUFFIX = ".opponents"
FACTS = "opponents.json"
EDITION = 1  # of the opponents' graphs: raised with them, so that older files are exported again


@dataclass(frozen=True)
class Opponents:
    """Checked engine files by role (sait, sait_head, sait_tail, stvit, weights), whose weights, and who is missing."""

    files: dict[str, Path]
    weights: str
    missing: dict[str, str]  # name: why


def default_folder(bundle: Bundle) -> Path:
    """`model.sacvit` -> `model.opponents`."""
    return bundle.path.with_suffix(SUFFIX)


def key_of(bundle: Bundle) -> str:
    """SHA-256 of all that the opponents are made from."""
    files = bundle.manifest.variants["fp32"].files if "fp32" in bundle.manifest.variants else {}
    parts = {role: files[role].sha256 for role in (BASELINE, "weights") if role in files}
    facts = {"edition": EDITION, "config": bundle.manifest.config.to_dict(), "files": parts}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find(folder: Path, bundle: Bundle, precision: str) -> Opponents | None:
    """What an earlier export left; None where there is nothing, or something made from another bundle.

    Raises BundleError for files that were changed since.
    """
    place = folder / precision
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
        if facts["key"] != key_of(bundle):
            return None
        entries = {role: FileEntry(**entry) for role, entry in facts["files"].items()}
        paths = {role: place / entry.path for role, entry in entries.items()}
        found = Opponents(paths, str(facts["weights"]), dict(facts["missing"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{place / FACTS} can't be read ({error}); remove {folder} and run again") from error
    for entry in entries.values():
        check_file(place, entry)
    return found


def find_or_export(folder: Path, bundle: Bundle, precision: str, say: Callable[[str], object]) -> Opponents:
    """The opponents of a bundle in one precision, exported now where the folder has none.

    Raises BundleError, and ExportError, which says so where something must be exported and torch is missing.
    """
    found = find(folder, bundle, precision)
    if found is not None:
        return found
    try:
        from sacvit_deploy.benchmarks.opponent_export import export_opponents
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{folder} has no {precision} opponents, and exporting them needs {error.name}: pip install "
            "'sacvit-deploy[export]', or copy that folder from a machine that has it, or say --against deit"
        ) from error
    place = folder / precision
    if place.exists() and not (place / FACTS).exists():
        raise ExportError(f"{place} exists and holds no opponents; choose another folder with --opponents")
    say(f"exporting the opponents in {precision} into {place}, once")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            files, weights, missing = export_opponents(bundle, precision, partial)
            entries = {role: asdict(entry) for role, entry in files.items()}
            facts = {"key": key_of(bundle), "weights": weights, "missing": missing, "files": entries}
            (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
            partial.chmod(0o755)  # temporary folders are their maker's alone
            shutil.rmtree(place, ignore_errors=True)
            os.rename(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ExportError(
            f"can't write the opponents into {folder}: {error.strerror or error}; name a folder with --opponents"
        ) from error
    found = find(folder, bundle, precision)
    if found is None:
        raise ExportError(f"{place} vanished while it was written; run again")
    return found
