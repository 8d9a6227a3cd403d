"""Changing a bundle's default eta and alpha, and nothing else of its manifest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.files import whole_file
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.glue import check_eta

MARK = "defaults: "  # prefix of the note that says who chose them


def write_defaults(bundle: Path, *, eta: float, alpha: float, reason: str, precision: str = "fp32") -> None:
    """Make eta and alpha the defaults of a bundle folder, and note the reason in its provenance.

    An eta chosen with fp32 becomes the bundle's and clears those of the other variants, which matched the old one; an
    eta chosen with another variant is that variant's alone. The manifest is replaced by a rename, so a reader sees the
    old one or the new one. Raises UsageError for values out of range, BundleError for a bundle that is damaged or can't
    be written.
    """
    manifest = open_bundle(bundle).manifest
    config = manifest.config
    eta = check_eta(eta)
    num_targets(alpha, config.geometry.tokens, config.method.rounding)
    if "\n" in reason:
        raise UsageError("the reason for a bundle's defaults must be one line")
    variants = {
        name: dataclasses.replace(variant, eta=None if precision == "fp32" else eta)
        if precision in ("fp32", name)
        else variant
        for name, variant in manifest.variants.items()
    }
    # The last choice is the one that counts.
    notes = [note for note in manifest.provenance.get("notes", []) if not str(note).startswith(MARK)]
    changed = dataclasses.replace(
        manifest,
        eta=eta if precision == "fp32" else manifest.eta,
        variants=variants,
        config=dataclasses.replace(config, method=dataclasses.replace(config.method, alpha=float(alpha))),
        provenance={**manifest.provenance, "notes": [*notes, MARK + reason]},
    )
    target = bundle / MANIFEST
    try:
        with whole_file(target) as partial:
            partial.write_bytes(changed.to_bytes())
    except OSError as error:
        raise BundleError(f"can't write {target}: {error.strerror}; its defaults are unchanged") from error
