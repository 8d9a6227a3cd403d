"""Where stage 2 is, if it is on another machine, as users say it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from sacvit_deploy.errors import UsageError


@dataclass(frozen=True)
class Remote:
    """Where stage 2 is, and how long it is waited for; the fields are SACViT's arguments.

    url: `http://host:port` of a `sacvit serve`. timeout: seconds for one HTTP request in all, its reply included.
    retries: further tries of a batch that was not answered. fallback: whether stage 1's answer then stands in for
    stage 2's. Raises UsageError.
    """

    url: str
    timeout: float
    retries: int
    fallback: bool

    def __post_init__(self) -> None:
        parts = self.parts
        if parts.scheme not in ("http", "https") or not _is_host(parts.hostname) or parts.query or "@" in parts.netloc:
            raise UsageError(f"stage_two is {self.url!r:.80}; it must be an address such as http://host:8000")
        if not parts.path.isascii() or not parts.path.isprintable() or " " in parts.path:
            raise UsageError(f"the path of stage_two is {parts.path!r:.80}; write it in ASCII, the rest as %XX")
        if not (isinstance(self.timeout, (int, float)) and 0 < self.timeout <= 3600):
            raise UsageError(f"stage_two_timeout is {self.timeout!r:.80}; it must be seconds, above 0")
        if type(self.retries) is not int or not 0 <= self.retries <= 100:
            raise UsageError(f"stage_two_retries is {self.retries!r:.80}; it must be a whole number from 0 to 100")

    @property
    def parts(self) -> SplitResult:
        """The address, taken apart."""
        try:
            parts = urlsplit(self.url)
            _ = parts.port  # raises for what is no number
        except (ValueError, AttributeError, TypeError) as error:
            raise UsageError(
                f"stage_two is {self.url!r:.80}; it must be an address such as http://host:8000"
            ) from error
        return parts


def _is_host(name: str | None) -> bool:
    """Tell whether a name can be looked up: the system's look-up raises UnicodeError for labels without a form."""
    if not name or not name.isprintable() or " " in name:
        return False
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False
