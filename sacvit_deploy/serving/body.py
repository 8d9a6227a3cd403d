"""Reading a request: its body within limits, its images, its parameters."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.glue import check_eta
from sacvit_deploy.serving.admission import Ticket, too_large
from sacvit_deploy.serving.refusal import Refusal
from sacvit_deploy.serving.settings import Settings

# It writes a line for each bad form, and those are strangers'.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
LONGEST_NAME = 255  # characters of an image's name that come back with its answer
HEADERS = 8 << 10  # bytes of a part's headers
EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*[^';]*'[^';]*'([^;\s]*)", re.I)  # the parser leaves these out


@dataclass(frozen=True)
class Options:
    """How images are asked for: eta, alpha, M = count, classes in the answer."""

    eta: float
    alpha: float
    count: int
    topk: int


def read_options(given: Mapping[str, Any], config: ModelConfig, default_eta: float) -> Options:
    """Read eta, alpha and topk, of a query or of KServe's parameters. Raises Refusal."""
    numbers = {}
    for name in ("eta", "alpha", "topk"):
        value = given.get(name)
        try:
            if isinstance(value, (bool, list, dict)):
                raise ValueError(value)
            numbers[name] = None if value is None else float(value)
        except ValueError as error:
            raise Refusal(400, f"{name} is {str(value)[:40]!r}; it must be a number") from error
    topk = 1.0 if numbers["topk"] is None else numbers["topk"]
    if not (1 <= topk <= 1 << 20 and topk == int(topk)):
        raise Refusal(400, f"topk is {topk:g}; it must be a whole number, at least 1")
    alpha = config.method.alpha if numbers["alpha"] is None else numbers["alpha"]
    try:
        eta = check_eta(default_eta if numbers["eta"] is None else numbers["eta"])
        return Options(eta, alpha, config.num_targets(alpha), int(topk))
    except UsageError as error:
        raise Refusal(400, str(error)) from error


async def read_body(request: Request, ticket: Ticket, settings: Settings) -> bytes:
    """Read a body in time and within the limits. Raises Refusal."""
    claimed = request.headers.get("content-length", "")
    if claimed.isdecimal() and int(claimed[:20]) > settings.max_body:
        raise too_large(settings)
    parts: list[bytes] = []

    async def read() -> None:
        async for part in request.stream():
            ticket.add_bytes(len(part))
            parts.append(part)

    try:
        await asyncio.wait_for(read(), settings.body_timeout)
    except asyncio.TimeoutError as error:
        message = f"the body did not come in {settings.body_timeout:g} s; send it faster, or less"
        raise Refusal(408, message) from error
    except ClientDisconnect as error:
        raise Refusal(400, "the connection was closed before the body had come") from error
    return b"".join(parts)


def is_form(request: Request) -> bool:
    """Tell whether the body is a form with files."""
    return request.headers.get("content-type", "").lower().startswith("multipart/")


def read_form(content_type: str, body: bytes, most: int) -> list[tuple[str, bytes]]:
    """Return the files of a multipart body as (name, bytes), at least one, at most `most`; other fields are left out.

    A file is a part with a file's name, or of an image's type. In memory, where the body is already: frameworks write
    larger parts to disk. Raises Refusal.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Refusal(400, "the multipart body names no boundary; let the client library write Content-Type")
    reader = _FormReader(body, most)
    callbacks: Any = {
        f"on_{event}": getattr(reader, event)
        for event in ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
    }
    try:
        MultipartParser(boundary, callbacks).write(body)
    except (FormParserError, UnicodeError) as error:
        raise Refusal(400, f"the multipart body can't be read ({str(error)[:80]}); send it as curl -F does") from error
    if not reader.ended:
        raise Refusal(400, "the multipart body ends before its last boundary; it was cut, send it again")
    if not reader.files:
        raise Refusal(400, "the form has no file; give each image a file's name, as curl -F file=@image.jpg does")
    return reader.files


class _FormReader:
    """Collects the files of a form from the parser's events, each a range of the data it is given."""

    def __init__(self, body: bytes, most: int) -> None:
        self._most = most
        self.files: list[tuple[str, bytes]] = []
        self.ended = False
        self._parts = 0
        self.part_begin()

    def part_begin(self) -> None:
        self._field = self._value = b""
        self._disposition = self._type = b""
        self._size = 0
        self._data: list[bytes] = []

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._take_header(end - start)
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._take_header(end - start)
        self._value += data[start:end]

    def header_end(self) -> None:
        match self._field.lower():
            case b"content-disposition":
                self._disposition = self._value
            case b"content-type":
                self._type = self._value
        self._field = self._value = b""

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def part_end(self) -> None:
        self._parts += 1
        name = _file_name(self._disposition)
        if name is not None or self._type.strip().lower().startswith(b"image/"):
            self.files.append(((name or "<form>")[:LONGEST_NAME], b"".join(self._data)))
        if max(len(self.files), self._parts - 16) > self._most:
            raise Refusal(413, f"a request can have {self._most} images; send the others in another one")

    def end(self) -> None:
        self.ended = True

    def _take_header(self, size: int) -> None:
        self._size += size
        if self._size > HEADERS:
            raise Refusal(400, f"a part of the multipart body has more than {HEADERS:,} bytes of headers")


def _file_name(disposition: bytes) -> str | None:
    """Return the file's name in a Content-Disposition, plain or as RFC 8187's `filename*`; None where it has none."""
    _, options = parse_options_header(disposition)
    if (plain := options.get(b"filename")) is not None:
        return plain.decode("utf-8", "replace")
    extended = EXTENDED_NAME.search(disposition)
    return None if extended is None else unquote_to_bytes(extended[1]).decode("utf-8", "replace")
