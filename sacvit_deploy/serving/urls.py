"""Images by their address: only from prefixes that the operator named, without redirects, within limits."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from sacvit_deploy.errors import ImageError, TooLargeError, UsageError, first_line

TIMEOUT = 10.0  # seconds without data


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to where the prefix does not."""

    def redirect_request(self, *args: Any, **options: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))


def check_prefix(prefix: str) -> str:
    """Return a prefix that ends the host's name: `https://host/`. Raises UsageError for another."""
    parts = urlsplit(prefix)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not parts.path:
        raise UsageError(
            f"--allow-url {prefix!r:.80}: give a whole prefix that ends with a slash, https://host/folder/"
        )
    return prefix


def allowed(url: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether an address begins with a prefix and does not climb out of it."""
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    return plain and "/.." not in url.replace("%2e", ".").replace("%2E", ".") and url.startswith(prefixes)


def fetch(url: str, limit: int) -> bytes:
    """Fetch an image of up to `limit` bytes. Raises ImageError."""
    try:
        with _OPENER.open(url, timeout=TIMEOUT) as response:
            data: bytes = response.read(limit + 1)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError) as error:
        raise ImageError(f"{url} can't be fetched ({first_line(error)})") from error
    if len(data) > limit:
        raise TooLargeError(f"{url} has more than {limit:,} bytes; send less, or start with --max-body")
    return data
