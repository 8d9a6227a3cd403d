"""Changing a bundle's default eta and alpha, and nothing else of its manifest."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST, open_manifest
from sacvit_deploy.bundle.manifest import Manifest, Variant
from sacvit_deploy.bundle.write import changing
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.files import whole_file
from sacvit_deploy.glue import check_eta

MARK = re.compile(r"defaults(?: of (\w+))?: ")  # begins the note that says who chose them


def write_defaults(
    bundle: Path, *, eta: float, alpha: float, reason: str, precision: str = "fp32", measured: Variant | None = None
) -> None:
    """Make eta and alpha the defaults of a bundle folder, and note the reason in its provenance.

    An eta chosen with fp32 becomes the bundle's and clears those of the other variants, which matched the old one; an
    eta chosen with another variant is that variant's alone. The manifest is replaced by a rename, so a reader sees the
    old one or the new one. measured: the variant they were chosen with. Raises UsageError for values out of range,
    BundleError for a bundle that is damaged, can't be written, or has other engines by now than `measured`.
    """
    eta = check_eta(eta)
    open_manifest(bundle).config.num_targets(alpha)
    if "\n" in reason:
        raise UsageError("the reason for a bundle's defaults must be one line")
    try:
        with changing(bundle) as folder:
            manifest = open_manifest(folder)
            now = manifest.variants.get(precision)
            if measured is not None and (now is None or now.files != measured.files):
                raise BundleError(f"{bundle} was replaced while it was measured; its defaults are unchanged, run again")
            changed = _changed(manifest, eta, alpha, reason, precision)
            with whole_file(folder / MANIFEST, follow=False) as partial:
                partial.write_bytes(changed.to_bytes())
    except OSError as error:
        raise BundleError(f"can't write {bundle / MANIFEST}: {error.strerror}; its defaults are unchanged") from error


def _changed(manifest: Manifest, eta: float, alpha: float, reason: str, precision: str) -> Manifest:
    config = manifest.config
    variants = {
        name: dataclasses.replace(variant, eta=None if precision == "fp32" else eta)
        if precision in ("fp32", name)
        else variant
        for name, variant in manifest.variants.items()
    }
    mark = "defaults: " if precision == "fp32" else f"defaults of {precision}: "
    notes = notes_without(manifest, variants if precision == "fp32" else [precision])
    return dataclasses.replace(
        manifest,
        eta=eta if precision == "fp32" else manifest.eta,
        variants=variants,
        config=dataclasses.replace(config, method=dataclasses.replace(config.method, alpha=float(alpha))),
        provenance={**manifest.provenance, "notes": [*notes, mark + reason]},
    )


def notes_without(manifest: Manifest, precisions: Collection[str]) -> list[str]:
    """Return a manifest's notes without those that say who chose the defaults of these variants, no longer true."""
    kept = []
    for note in manifest.provenance.get("notes", []):
        told = MARK.match(str(note))
        if told is None or (told[1] or "fp32") not in precisions:
            kept.append(note)
    return kept
