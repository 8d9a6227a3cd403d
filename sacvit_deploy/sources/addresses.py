"""Addresses as users write them: what looks like one, and how it is printed without its password."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)")  # two letters at least: C:/ is a disk
_PASSWORD = re.compile(r"([^:]*:[^:]*):.*@", re.DOTALL)


def shown_url(url: str) -> str:
    """Return an address as it may be printed: without its password. Raises ValueError for what is none."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user, host = parts.netloc.rpartition("@")[::2]
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def masked(text: str) -> str:
    """Return what a user wrote as it may be printed where it is refused, be it an address or not.

    Nobody knows which part of a malformed address is its password, so all that may be is left out.
    """
    return _PASSWORD.sub(r"\1:***@", text, count=1) if ADDRESS.match(text) else text
