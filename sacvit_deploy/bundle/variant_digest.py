"""The digest of a variant: what both sides of a network must have in common to share an image between the stages."""

from __future__ import annotations

import hashlib
import struct

from sacvit_deploy.bundle.manifest import Manifest
from sacvit_deploy.contract import STAGES

ROLES = (*STAGES, "weights")


def variant_digest(manifest: Manifest, precision: str) -> str:
    """Return the SHA-256, in 64 hexadecimal digits, of what decides stage 2's answer for a request of this variant.

    That is the precision, the hashes of both engines, of their weights and of the class names, and the numbers that
    patches are normalised with. The rest of the manifest may differ: a packed bundle, another default eta or alpha
    and added plans leave it as it is. docs/wire-format.md says how to compute it from a manifest.json.
    """
    files, recipe = manifest.variants[precision].files, manifest.config.preprocessing
    lines = [
        "SAC-ViT variant 1",
        f"precision {precision}",
        f"background {manifest.config.method.background}",
        *(f"{name} {' '.join(map(_bits, getattr(recipe, name)))}" for name in ("mean", "std")),
        f"labels {manifest.labels.sha256}",
        *(f"{role} {files[role].sha256}" for role in ROLES if role in files),
    ]
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _bits(number: float) -> str:
    """Return a double's 64 bits in hexadecimal, which every language writes alike."""
    return struct.pack(">d", number).hex()
