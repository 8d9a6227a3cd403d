"""JSON files that carry a hash of themselves, so that a change of any byte shows."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_DIGEST = re.compile(rb'"digest": "sha256:([0-9a-f]{64})"')
_EMPTY = b"sha256:" + b"0" * 64


def seal(schema: int, data: Mapping[str, Any]) -> bytes:
    """Readable JSON of schema, digest and data. The digest is the SHA-256 of the file with its 64 digits zeroed."""
    whole = {"schema": schema, "digest": _EMPTY.decode(), **data}
    text = (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()
    return text.replace(_EMPTY, b"sha256:" + hashlib.sha256(text).hexdigest().encode(), 1)


def is_sealed(raw: bytes) -> bool:
    """Whether the file is as `seal` wrote it."""
    found = _DIGEST.search(raw)
    if found is None:
        return False
    text = raw[: found.start(1)] + b"0" * 64 + raw[found.end(1) :]
    return hashlib.sha256(text).hexdigest() == found[1].decode()
