"""JSON files that carry their own hash, so that any changed byte is noticed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_DIGEST = re.compile(rb'"digest": "sha256:([0-9a-f]{64})"')
_EMPTY = b"sha256:" + b"0" * 64


def seal(schema: int, data: Mapping[str, Any]) -> bytes:
    """Write schema, digest and data as readable JSON; the digest is the file's SHA-256 with the 64 digits zeroed."""
    whole = {"schema": schema, "digest": _EMPTY.decode(), **data}
    text = (json.dumps(whole, indent=1, ensure_ascii=False) + "\n").encode()
    return text.replace(_EMPTY, b"sha256:" + hashlib.sha256(text).hexdigest().encode(), 1)


def is_sealed(raw: bytes) -> bool:
    """Return whether a file's content is as `seal` wrote it."""
    digest = _DIGEST.search(raw)
    if digest is None:
        return False
    text = raw[: digest.start(1)] + b"0" * 64 + raw[digest.end(1) :]
    return hashlib.sha256(text).hexdigest() == digest[1].decode()
