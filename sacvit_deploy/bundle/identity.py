"""What answers depend on in a bundle, in a few letters."""

from __future__ import annotations

import hashlib
import json

from sacvit_deploy.bundle.bundle import Bundle

ROLES = ("ee", "sac", "weights")
DIGITS = 12  # of a SHA-256, enough to tell bundles apart that somebody has


def answers_digest(bundle: Bundle, precision: str) -> str:
    """Return hexadecimal digits that are the same for bundles with the same engines, labels and configuration.

    Other precisions, plans and provenance don't matter: a packed bundle answers as the one it was packed from. Raises
    BundleError, UsageError for a precision that the bundle does not have.
    """
    files = bundle.variant(precision).files
    parts = {
        "engines": {role: files[role].sha256 for role in ROLES if role in files},
        "labels": bundle.manifest.labels.sha256,
        "config": bundle.manifest.config.to_dict(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]
