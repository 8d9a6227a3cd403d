"""Images by their address: only from prefixes that the operator named, without redirects, within limits."""

from __future__ import annotations

import contextlib
import re
import time
from urllib.parse import unquote, urlsplit

from sacvit_deploy.errors import ImageError, TooLargeError, UsageError
from sacvit_deploy.sources.web import opened, read_all

TIMEOUT = 10.0  # seconds for all of a fetch
DEEPEST = 4  # times that an address may be percent-encoded
# What servers end a part of a path at, `;` (Tomcat's parameters) and the backslash (Windows) among it.
ENDS = re.compile(r"[/\\;?#]")


def check_prefix(prefix: str) -> str:
    """Return a prefix that ends a folder's name: `https://host/folder/`. Raises UsageError for another."""
    with contextlib.suppress(ValueError):  # brackets without a partner
        parts = urlsplit(prefix)
        named = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
        if named and not parts.query and not parts.fragment and prefix.endswith("/"):
            return prefix
    raise UsageError(f"--allow-url {prefix!r:.80}: give a whole prefix that ends with a slash, https://host/folder/")


def allowed(url: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether an address begins with a prefix and does not climb out of it, however a server decodes it."""
    if not (url.isascii() and url.isprintable() and " " not in url and url.startswith(prefixes)):
        return False
    for _ in range(DEEPEST):
        if ".." in ENDS.split(url):
            return False
        plain = unquote(url)
        if plain == url:
            return True
        url = plain
    return False


def fetch(url: str, limit: int, until: float) -> bytes:
    """Fetch an image of up to `limit` bytes. until: when it must be there, in `time.monotonic`'s. Raises ImageError."""
    left = until - time.monotonic()
    if left <= 0:
        raise ImageError(f"{url} was not fetched, as others took all the time; ask again")
    try:
        with opened(url, left, direct=True) as response:
            return read_all(response, url, limit)
    except TooLargeError as error:
        raise TooLargeError(f"{error}; send less, or start with --max-body") from error
