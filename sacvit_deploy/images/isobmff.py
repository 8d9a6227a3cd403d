"""HEIC and AVIF, the formats of phones: told by their first bytes, opened by what this installation has for them."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image, features

from sacvit_deploy.errors import BackendError, ImageError, import_library

AVIF, HEIF = "AVIF", "HEIF"
# Brands that a file of the ISO base media format may name as its major one; `mif1` and `msf1` say only "some image".
BRANDS = {
    b"avif": AVIF, b"avis": AVIF,
    b"heic": HEIF, b"heix": HEIF, b"heim": HEIF, b"heis": HEIF, b"hevc": HEIF, b"hevx": HEIF,
}  # fmt: skip
GENERAL = (b"mif1", b"msf1")
MOST_BRANDS = 32  # looked at in a file that names a general one first


def isobmff_kind(data: bytes) -> str | None:
    """Return AVIF or HEIF for such a file, by its `ftyp` box (ISO/IEC 14496-12, 4.3); None for any other."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * MOST_BRANDS)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    found = next((BRANDS[brand] for brand in brands if brand in BRANDS), None)
    return HEIF if found is None and brands[0] in GENERAL else found


def open_isobmff(data: bytes, kind: str, name: str) -> Image.Image:
    """Open an AVIF or HEIC without decoding it; its pixels come upright. Raises ImageError with what to install.

    HEIC needs pillow-heif, whose opener is not registered, as that would change Pillow for the whole process.
    """
    if kind == AVIF:
        if not features.check("avif"):
            raise ImageError(f"{name} is an AVIF, which Pillow reads from 11.3 on; pip install 'pillow>=11.3'")
        return Image.open(io.BytesIO(data), formats=(AVIF,))
    try:
        library: Any = import_library("pillow_heif", "pillow-heif", "pip install 'sacvit-deploy[heif]'")
    except BackendError as error:
        raise ImageError(f"{name} is a HEIC: {error}") from error
    opened: Image.Image = library.HeifImageFile(io.BytesIO(data))
    return opened
