"""Engines of the token-reduction baselines, in a folder beside the bundle: found there, or exported into it.

Exporting needs torch, once, on a workstation; a device takes the finished folder along.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sacvit_deploy.bundle.bundle import Bundle, check_file
from sacvit_deploy.bundle.manifest import FileEntry
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.contract import BASELINE
from sacvit_deploy.errors import BundleError, ExportError

# Names that existing folders have.
SUFFIX = ".opponents"  # beside the bundle: `model.sacvit` -> `model.opponents`
FACTS = "opponents.json"
EDITION = 1  # of the baselines' graphs: raised with them, so that older files are exported again


@dataclass(frozen=True)
class Baselines:
    """Checked engine files by role: sait, sait_head, sait_tail, stvit, weights. weights: a remark on their origin."""

    files: dict[str, Path]
    weights: str
    missing: dict[str, str]  # reasons by name


def key_of(bundle: Bundle) -> str:
    """Return the SHA-256 of all that the baselines are made from."""
    files = bundle.manifest.variants["fp32"].files if "fp32" in bundle.manifest.variants else {}
    parts = {role: files[role].sha256 for role in (BASELINE, "weights") if role in files}
    facts = {"edition": EDITION, "config": bundle.manifest.config.to_dict(), "files": parts}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def find_baselines(folder: Path, bundle: Bundle, precision: str) -> Baselines | None:
    """Find the baselines of an earlier export; None where there are none, or those of another bundle.

    Raises BundleError for files that were changed since.
    """
    place = folder / precision
    try:
        facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
        if facts["key"] != key_of(bundle):
            return None
        entries = {role: FileEntry(**entry) for role, entry in facts["files"].items()}
        paths = {role: place / entry.path for role, entry in entries.items()}
        baselines = Baselines(paths, str(facts["weights"]), dict(facts["missing"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{place / FACTS} can't be read ({error}); remove {folder} and run again") from error
    for entry in entries.values():
        check_file(place, entry)
    return baselines


def find_or_export(folder: Path, bundle: Bundle, precision: str, say: Callable[[str], object]) -> Baselines:
    """Find the baselines of a bundle in one precision, or export them where the folder has none.

    Raises BundleError; ExportError where they must be exported and can't be, as without torch.
    """
    baselines = find_baselines(folder, bundle, precision)
    if baselines is not None:
        return baselines
    try:
        from sacvit_deploy.benchmarks.baselines.export import export_baselines
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{folder} has no {precision} baselines, and exporting them needs {error.name}: pip install "
            "'sacvit-deploy[export]', or copy that folder from a machine that has it, or say --against deit"
        ) from error
    place = folder / precision
    say(f"exporting the baselines in {precision} into {place}, once")
    with whole_folder(place, replace=True, mark=FACTS, option="--opponents") as partial:
        files, weights, missing = export_baselines(bundle, precision, partial)
        entries = {role: asdict(entry) for role, entry in files.items()}
        facts = {"key": key_of(bundle), "weights": weights, "missing": missing, "files": entries}
        (partial / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    baselines = find_baselines(folder, bundle, precision)
    if baselines is None:
        raise ExportError(f"{place} vanished while it was written; run again")
    return baselines
