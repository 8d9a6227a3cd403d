"""Stage 2 on another machine: requests go to `sacvit serve` by HTTP, logits come back."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.errors import (
    BundleError,
    OutputError,
    RemoteError,
    RequestError,
    SacvitError,
    UsageError,
    first_line,
)
from sacvit_deploy.forks import no_fork
from sacvit_deploy.request import VERSION, StageTwoRequest
from sacvit_deploy.typed import field, items, mapping, parse_json, text

if TYPE_CHECKING:
    from http.client import HTTPConnection

PATH = "/stage2"
MOST_IMAGES, MOST_BYTES = 32, 8 << 20  # of one HTTP request; servers have limits
MOST_REPLY = 64 << 20  # bytes of an answer
PAUSE = 0.1  # seconds before another try, twice as many before each further one
TRIED_AGAIN = (408, 429, 500, 502, 503, 504)  # statuses after which another try may be answered
KINDS = {"RequestError": RequestError, "OutputError": OutputError}


@dataclass(frozen=True)
class Remote:
    """Where stage 2 is, and how long it is waited for; the fields are SACViT's arguments.

    url: `http://host:port` of a `sacvit serve`. timeout: seconds for one try. retries: further tries of a batch that
    was not answered. fallback: whether stage 1's answer then stands in for stage 2's. Raises UsageError.
    """

    url: str
    timeout: float
    retries: int
    fallback: bool

    def __post_init__(self) -> None:
        parts = self.parts
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "@" in parts.netloc:
            raise UsageError(f"stage_two is {self.url!r:.80}; it must be an address such as http://host:8000")
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


class RemoteStageTwo:
    """A server that answers requests to stage 2. variant: digest that it must have, C: classes of an answer.

    After a batch that was not answered, none is sent for `timeout` seconds: each would wait as long. Safe to use from
    several threads.
    """

    def __init__(self, where: Remote, variant: str, classes: int) -> None:
        self.where, self.variant, self._classes = where, variant, classes
        self._lock = threading.Lock()
        self._checked = False
        self._kept: tuple[int, HTTPConnection | None] = (0, None)  # with the process it belongs to
        self._resting_until = 0.0
        self._last = ""

    def logits(self, requests: Sequence[StageTwoRequest]) -> list[Array | SacvitError]:
        """Return logits [C] fp32, or an error, for each request; RemoteError for those that were not answered.

        Raises BundleError where the server has another bundle or precision, at the first request.
        """
        found: list[Array | SacvitError] = []
        for part in _parts([request.to_bytes() for request in requests]):
            found += self._ask_for(part)
        return found

    def _ask_for(self, bodies: Sequence[bytes]) -> Sequence[Array | SacvitError]:
        with no_fork(), self._lock:
            if time.monotonic() < self._resting_until:
                return [RemoteError(f"stage 2 at {self.where.url} was not asked again yet: {self._last}")] * len(bodies)
        error = RemoteError("")
        for number in range(1 + self.where.retries):
            if number:
                time.sleep(min(PAUSE * 2 ** (number - 1), self.where.timeout))
            try:
                self._check_variant()
                reply = self._send("POST", b"".join(bodies))
                return [self._read(one) for one in _results(reply, len(bodies))]
            except _NotNow as reason:
                error = RemoteError(f"stage 2 at {self.where.url} gave no answer ({reason})")
                error.__cause__ = reason
                if not reason.again:
                    break
        with no_fork(), self._lock:
            self._resting_until, self._last = time.monotonic() + self.where.timeout, str(error)
        return [error] * len(bodies)

    def _check_variant(self) -> None:
        """Compare the server's digest with ours, once. Raises BundleError."""
        if self._checked:
            return
        facts = _json(self._send("GET", None))
        theirs, version = facts.get("variant"), facts.get("format")
        if version != VERSION:
            raise BundleError(
                f"stage 2 at {self.where.url} reads format {str(version)[:20]} of requests, and this sacvit-deploy "
                f"writes {VERSION}; install the same version on both sides"
            )
        if theirs != self.variant:
            raise BundleError(
                f"stage 2 at {self.where.url} has another bundle or precision open ({str(theirs)[:12]}) than stage 1 "
                f"here ({self.variant[:12]}); open the same bundle with the same precision= on both sides"
            )
        self._checked = True

    def _send(self, method: str, body: bytes | None) -> bytes:
        """Send a request and return the body of its answer. Raises _NotNow.

        On the connection of the last one, where it is still there: that saves a round trip.
        """
        import http.client  # here, as every program that imports SACViT would pay for it

        kept = self._take_connection()
        try:
            if kept is not None:
                with contextlib.suppress(ConnectionError, http.client.BadStatusLine):  # closed while it was idle
                    return self._exchange(kept, method, body)
            return self._exchange(self._connect(), method, body)
        except (OSError, http.client.HTTPException) as error:
            raise _NotNow(first_line(error)) from error

    def _exchange(self, connection: HTTPConnection, method: str, body: bytes | None) -> bytes:
        deadline, whole = time.monotonic() + self.where.timeout, False
        try:
            headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
            connection.request(method, self.where.parts.path.rstrip("/") + PATH, body, headers)
            response = connection.getresponse()
            data = bytearray()
            while chunk := response.read1(1 << 16):
                data += chunk
                if len(data) > MOST_REPLY:
                    raise _NotNow(f"its answer has more than {MOST_REPLY >> 20} MB", again=False)
                if time.monotonic() > deadline:
                    raise _NotNow(f"it took more than {self.where.timeout:g} s")
            if response.length:
                raise _NotNow("its answer was cut")
            whole = not response.will_close
            response.close()  # read1 does not, and the connection could not be used again
        finally:
            if whole:
                self._keep_connection(connection)
            else:
                connection.close()
        if response.status != 200:
            raise _NotNow(_reason(response.status, bytes(data)), again=response.status in TRIED_AGAIN)
        return bytes(data)

    def _connect(self) -> HTTPConnection:
        import http.client

        parts = self.where.parts
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(str(parts.hostname), parts.port, timeout=self.where.timeout)

    def _take_connection(self) -> HTTPConnection | None:
        """Return the connection that was kept; not a parent's, which goes on using it."""
        with no_fork(), self._lock:
            owner, connection = self._kept
            self._kept = (0, None)
        return connection if owner == os.getpid() else None

    def _keep_connection(self, connection: HTTPConnection) -> None:
        with no_fork(), self._lock:
            self._kept, (_, other) = (os.getpid(), connection), self._kept
        if other is not None:
            other.close()

    def _read(self, one: dict[str, Any]) -> Array | SacvitError:
        """Return the logits or the error of one answer. Raises _NotNow."""
        try:
            if "error" in one:
                kind = KINDS.get(text(field(one, "kind"), "kind", 64), RemoteError)
                return kind(f"stage 2 at {self.where.url}: {text(one['error'], 'error')[:1000]}")
            logits = np.frombuffer(
                base64.b64decode(text(field(one, "logits"), "logits", 1 << 24), validate=True), "<f4"
            )
        except ValueError as error:  # UsageError among them
            raise _NotNow(f"its answer can't be read: {first_line(error)}", again=False) from error
        if logits.shape != (self._classes,):
            raise _NotNow(f"its answer has {len(logits)} classes, and the bundle {self._classes}", again=False)
        return logits


class _NotNow(Exception):
    """A try that was not answered. again: whether another may be."""

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


def _parts(bodies: Sequence[bytes]) -> list[list[bytes]]:
    """Cut a batch into what one HTTP request may have."""
    parts: list[list[bytes]] = []
    for body in bodies:
        last = parts[-1] if parts else None
        if last is None or len(last) == MOST_IMAGES or sum(map(len, last)) + len(body) > MOST_BYTES:
            parts.append([body])
        else:
            last.append(body)
    return parts


def _json(data: bytes) -> dict[str, Any]:
    try:
        return mapping(parse_json(data), "the answer")
    except ValueError as error:
        raise _NotNow(f"its answer can't be read: {first_line(error)}; is it a `sacvit serve`?", again=False) from error


def _results(data: bytes, count: int) -> Sequence[dict[str, Any]]:
    """Return the answers of a reply, as many as were asked for. Raises _NotNow."""
    try:
        results = items(_json(data).get("results"), "results", mapping)
    except UsageError as error:
        raise _NotNow(f"its answer can't be read: {error}", again=False) from error
    if len(results) != count:
        raise _NotNow(f"it gave {len(results)} answers to {count} requests", again=False)
    return results


def _reason(status: int, data: bytes) -> str:
    """Return what the server said of an error, as far as it can be read."""
    try:
        said = text(_json(data).get("error"), "error")[:300]
    except (_NotNow, UsageError):
        said = ""
    return f"HTTP {status}{': ' if said else ''}{said}"
