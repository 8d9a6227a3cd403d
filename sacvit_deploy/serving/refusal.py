"""A request that is answered with an HTTP error."""

from __future__ import annotations


class Refusal(Exception):
    """Ends a request with an HTTP status and one sentence. retry_after: seconds, where asking again may help."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
