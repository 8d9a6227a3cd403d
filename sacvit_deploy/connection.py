"""A connection to an HTTP server that is kept from one exchange to the next, each with a deadline for all of it."""

from __future__ import annotations

import contextlib
import io
import os
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult

from sacvit_deploy.errors import first_line
from sacvit_deploy.forks import no_fork

if TYPE_CHECKING:
    import socket
    from http.client import HTTPConnection

MOST_REPLY = 64 << 20  # bytes of an answer
CHUNK = 1 << 16  # bytes that are sent or read at a time


class NoReplyError(Exception):
    """An exchange without a whole reply: no connection, a broken one, time that is over, or (not `again`) one too long.

    again: whether another try may have one.
    """

    def __init__(self, reason: str, *, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True)
class HttpReply:
    """An HTTP response. retry_after: the seconds that its header asks for; 0 where there is none."""

    status: int
    body: bytes
    retry_after: float


class KeptConnection:
    """A connection to a server, opened when it is needed. parts: its address. timeout: seconds for an exchange.

    Safe to use from several threads: while one has the connection, another opens one.
    """

    def __init__(self, parts: SplitResult, timeout: float) -> None:
        self._parts, self._timeout = parts, timeout
        self._lock = threading.Lock()
        self._kept: tuple[int, HTTPConnection | None] = (0, None)  # with the process it belongs to

    def exchange(self, method: str, path: str, body: bytes | None) -> HttpReply:
        """Send a request and return its reply; each is sent once. Raises NoReplyError.

        On the connection of the last one, where it is still there: that saves a round trip. The time that is allowed
        is that of connecting, sending and the reply together; what the system takes to look a name up is not cut.
        """
        import http.client  # here, as every program that imports SACViT would pay for it

        deadline = time.monotonic() + self._timeout
        try:
            connection = self._take() or self._connect(deadline)
            return self._exchange(connection, deadline, method, path, body)
        except TimeoutError as error:
            raise NoReplyError(f"it took more than {self._timeout:g} s") from error
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: of a name that can't be encoded
            raise NoReplyError(first_line(error)) from error

    def _exchange(
        self, connection: HTTPConnection, deadline: float, method: str, path: str, body: bytes | None
    ) -> HttpReply:
        sent = whole = False
        try:
            cast(TimedSocket, connection.sock).deadline = deadline
            headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
            # A server may refuse a body and close before all of it came; why it did so can still be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers)
                sent = True
            response = connection.getresponse()
            data = bytearray()
            while chunk := response.read1(CHUNK):
                data += chunk
                if len(data) > MOST_REPLY:
                    raise NoReplyError(f"its answer has more than {MOST_REPLY >> 20} MB", again=False)
            if response.length:
                raise NoReplyError("its answer was cut")
            after = response.getheader("Retry-After", "")
            whole = sent and not response.will_close
            response.close()  # read1 does not, and the connection could not be used again
        finally:
            if whole:
                self._keep(connection)
            else:
                connection.close()
        seconds = float(after) if after.isascii() and after.isdigit() else 0.0  # or a date, which needs equal clocks
        return HttpReply(response.status, bytes(data), seconds)

    def _connect(self, deadline: float) -> HTTPConnection:
        import http.client

        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(self._parts.hostname), self._parts.port, timeout=self._timeout)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.sock = cast("socket.socket", TimedSocket(connection.sock, deadline))
        return connection

    def _take(self) -> HTTPConnection | None:
        """Return the connection that was kept, where it is still open; not a parent's, which goes on using it."""
        with no_fork(), self._lock:
            owner, connection = self._kept
            self._kept = (0, None)
        if connection is None or owner != os.getpid():
            return None
        # Looked at before the request is sent: one that dies afterwards may have been read, and is not sent again here.
        if cast(TimedSocket, connection.sock).idle():
            return connection
        connection.close()
        return None

    def _keep(self, connection: HTTPConnection) -> None:
        with no_fork(), self._lock:
            self._kept, (_, other) = (os.getpid(), connection), self._kept
        if other is not None:
            other.close()


class TimedSocket:
    """What http.client uses of a socket, where all that is sent and read must end by `deadline` (`time.monotonic`).

    A socket's own timeout begins anew with each byte that comes.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock, self.deadline = sock, deadline

    def idle(self) -> bool:
        """Tell whether nothing came that was not asked for, such as the end of the connection."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ)
            return not selector.select(0)

    def sendall(self, data: bytes) -> None:
        """Send bytes. Raises TimeoutError."""
        view = memoryview(data)
        for at in range(0, len(view), CHUNK):
            self._limit()
            self.sock.sendall(view[at : at + CHUNK])

    def makefile(self, *_: Any) -> io.BufferedReader:
        """Return the file that a reply is read from."""
        return io.BufferedReader(_TimedReader(cast(io.RawIOBase, self.sock.makefile("rb", buffering=0)), self._limit))

    def close(self) -> None:
        """Close the socket, once its files are closed."""
        self.sock.close()

    def _limit(self) -> None:
        """Leave the socket no more time than there is. Raises TimeoutError."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.sock.settimeout(left)


class _TimedReader(io.RawIOBase):
    """A socket's file; limit is called before each read."""

    def __init__(self, raw: io.RawIOBase, limit: Callable[[], None]) -> None:
        self._raw, self._limit = raw, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._limit()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
