"""Stage 2 on another machine: requests go to `sacvit serve` by HTTP, logits come back."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.connection import KeptConnection, NoReplyError
from sacvit_deploy.endpoint import Remote
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

PATH = "/stage2"
MOST_IMAGES, MOST_BYTES = 32, 8 << 20  # of one HTTP request; a server with lower limits answers TOO_LARGE
PAUSE = 0.1  # seconds before another try, twice as many before each further one
OK, TOO_LARGE = 200, 413
TRIED_AGAIN = (408, 429, 500, 502, 503, 504)  # statuses after which another try may be answered
REFUSALS = frozenset(range(400, 500)).difference(TRIED_AGAIN)  # what a server says of the request, not of itself
KINDS = {"RequestError": RequestError, "OutputError": OutputError}


class RemoteStageTwo:
    """A server that answers requests to stage 2. variant: digest that it must have, C: classes of an answer.

    After a batch for which it could not be reached none is sent for `timeout` seconds: each would wait as long; after
    one that it was too busy for, for as long as it asks (Retry-After), `timeout` at most. Safe to use from several
    threads.
    """

    def __init__(self, where: Remote, variant: str, classes: int) -> None:
        self.where, self.variant, self._classes = where, variant, classes
        self._connection = KeptConnection(where.parts, where.timeout)
        self._lock = threading.Lock()
        self._checked = False
        self._most = MOST_IMAGES  # of one HTTP request, as far as is known of the server's limits
        self._resting_until = 0.0
        self._last = ""

    def logits(self, requests: Sequence[StageTwoRequest]) -> list[Array | SacvitError]:
        """Return logits [C] fp32, or an error, for each request.

        RemoteError for those that were not answered, RequestError for those that the server refuses, or answers for
        another variant. Raises BundleError where it has another bundle or precision, at the first request.
        """
        return self._ask([request.to_bytes() for request in requests])

    def _ask(self, bodies: Sequence[bytes]) -> list[Array | SacvitError]:
        """Ask for a batch, in as many HTTP requests as the server's limits make of it."""
        found: list[Array | SacvitError] = []
        for part in _parts(bodies, self._most):
            found += self._ask_for(part)
        return found

    def _ask_for(self, bodies: Sequence[bytes]) -> Sequence[Array | SacvitError]:
        with no_fork(), self._lock:
            if time.monotonic() < self._resting_until:
                return [RemoteError(f"stage 2 at {self.where.url} was not asked again yet: {self._last}")] * len(bodies)
        error, rest = RemoteError(""), 0.0
        for number in range(1 + self.where.retries):
            if number:
                time.sleep(min(PAUSE * 2 ** (number - 1), self.where.timeout))
            try:
                self._check_variant()
                return self._read_all(self._send("POST", b"".join(bodies)), len(bodies))
            except _RefusedError as refusal:
                if refusal.status == TOO_LARGE and len(bodies) > 1:
                    with no_fork(), self._lock:
                        self._most = min(self._most, (len(bodies) + 1) // 2)
                    return self._ask(bodies)
                return [RequestError(f"stage 2 at {self.where.url} refused the request ({refusal})")] * len(bodies)
            except _UnansweredError as reason:
                error = RemoteError(f"stage 2 at {self.where.url} gave no answer ({reason})")
                error.__cause__, rest = reason, reason.rest
                if not reason.again:
                    break
        with no_fork(), self._lock:
            self._resting_until, self._last = time.monotonic() + min(rest, self.where.timeout), str(error)
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
        """Send a request and return the body of its answer. Raises _UnansweredError, _RefusedError."""
        try:
            reply = self._connection.exchange(method, self.where.parts.path.rstrip("/") + PATH, body)
        except NoReplyError as error:
            raise _UnansweredError(str(error), again=error.again, rest=self.where.timeout) from error
        if reply.status == OK:
            return reply.body
        reason = _reason(reply.status, reply.body)
        if reply.status in REFUSALS:
            raise _RefusedError(reason, reply.status)
        raise _UnansweredError(reason, again=reply.status in TRIED_AGAIN, rest=reply.retry_after)

    def _read_all(self, reply: bytes, count: int) -> Sequence[Array | SacvitError]:
        """Return what a reply has for each of `count` requests. Raises _UnansweredError."""
        data = _json(reply)
        found = [self._read(one) for one in _results(data, count)]
        if (theirs := data.get("variant")) == self.variant:
            return found
        other = RequestError(
            f"stage 2 at {self.where.url} answered for another bundle or precision ({str(theirs)[:12]}) than stage 1 "
            f"here has ({self.variant[:12]}); open the same bundle with the same precision= on both sides"
        )
        return [one if isinstance(one, SacvitError) else other for one in found]

    def _read(self, one: dict[str, Any]) -> Array | SacvitError:
        """Return the logits or the error of one answer. Raises _UnansweredError."""
        try:
            if "error" in one:
                kind = KINDS.get(text(field(one, "kind"), "kind", 64), RemoteError)
                return kind(f"stage 2 at {self.where.url}: {text(one['error'], 'error')[:1000]}")
            logits = np.frombuffer(
                base64.b64decode(text(field(one, "logits"), "logits", 1 << 24), validate=True), "<f4"
            )
        except ValueError as error:  # UsageError among them
            raise _UnansweredError(f"its answer can't be read: {first_line(error)}") from error
        if logits.shape != (self._classes,):
            raise _UnansweredError(f"its answer has {len(logits)} classes, and the bundle {self._classes}")
        return logits


class _UnansweredError(Exception):
    """A try that was not answered. again: whether another may be. rest: seconds in which no batch after it would be."""

    def __init__(self, reason: str, *, again: bool = False, rest: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.rest = again, rest


class _RefusedError(Exception):
    """A request that the server does not take, so that no other try would help."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


def _parts(bodies: Sequence[bytes], most: int) -> list[list[bytes]]:
    """Cut a batch into what one HTTP request may have."""
    parts: list[list[bytes]] = []
    for body in bodies:
        last = parts[-1] if parts else None
        if last is None or len(last) == most or sum(map(len, last)) + len(body) > MOST_BYTES:
            parts.append([body])
        else:
            last.append(body)
    return parts


def _json(data: bytes) -> dict[str, Any]:
    try:
        return mapping(parse_json(data), "the answer")
    except ValueError as error:
        raise _UnansweredError(f"its answer can't be read: {first_line(error)}; is it a `sacvit serve`?") from error


def _results(data: dict[str, Any], count: int) -> Sequence[dict[str, Any]]:
    """Return the answers of a reply, as many as were asked for. Raises _UnansweredError."""
    try:
        results = items(data.get("results"), "results", mapping)
    except UsageError as error:
        raise _UnansweredError(f"its answer can't be read: {error}") from error
    if len(results) != count:
        raise _UnansweredError(f"it gave {len(results)} answers to {count} requests")
    return results


def _reason(status: int, data: bytes) -> str:
    """Return what the server said of an error, as far as it can be read."""
    try:
        said = text(_json(data).get("error"), "error")[:300]
    except (_UnansweredError, UsageError):
        said = ""
    return f"HTTP {status}{': ' if said else ''}{said}"
