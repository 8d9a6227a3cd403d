"""JSON files that carry a schema number and their own hash, so that any changed byte is noticed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from sacvit_deploy.errors import BundleError
from sacvit_deploy.regular import read_regular
from sacvit_deploy.typed import parse_json

T = TypeVar("T")
LIMIT = 16 << 20  # bytes; a larger file is none of ours
_DIGEST = re.compile(rb'"digest": "sha256:([0-9a-f]{64})"')
_HALF = re.compile("[\ud800-\udfff]")  # half of a character, which UTF-8 can't write
_EMPTY = b"sha256:" + b"0" * 64


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def seal(schema: int, data: Mapping[str, Any]) -> bytes:
    """Write schema, digest and data as readable JSON; the digest is the file's SHA-256 with the 64 digits zeroed.

    What is no text, as names of files may have it, is written as a backslash and its number: `gro\\udcdf`.
    """
    whole = {"schema": schema, "digest": _EMPTY.decode(), **data}
    plain = _HALF.sub(lambda half: f"\\\\u{ord(half[0]):04x}", json.dumps(whole, indent=1, ensure_ascii=False))
    text = f"{plain}\n".encode()
    return text.replace(_EMPTY, b"sha256:" + _sha256(text), 1)


def read_sealed(path: Path, schema: int, parse: Callable[[dict[str, Any]], T], kind: str, remedy: str) -> T:
    """Read a file that `seal` wrote, and `parse` its content.

    kind: the folder that holds such a file, for the error where there is none. remedy: the end of other errors.
    Raises BundleError for a file that is missing, damaged or changed, or written by a newer `schema`.
    """
    try:
        raw = read_regular(path, LIMIT)
    except FileNotFoundError as error:
        raise BundleError(f"{path.parent} has no {path.name}; it is not {kind}, or not a whole one") from error
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror}") from error
    try:
        data = parse_json(raw)
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON ({error}); {remedy}") from error
    if not isinstance(data, dict) or type(data.get("schema")) is not int:
        raise BundleError(f"{path} has no schema number; sacvit-deploy did not write it")
    if data["schema"] > schema:
        raise BundleError(
            f"{path} was written by a newer sacvit-deploy (schema {data['schema']}, this one reads {schema}); "
            "upgrade sacvit-deploy"
        )
    digest = _DIGEST.search(raw)
    if digest is None or _sha256(raw[: digest.start(1)] + b"0" * 64 + raw[digest.end(1) :]) != digest[1]:
        raise BundleError(f"{path} was changed after it was written; {remedy}")
    try:
        return parse(data)
    except (BundleError, ValueError) as error:
        raise BundleError(f"{path} is incomplete or wrong ({error}); {remedy}") from error
