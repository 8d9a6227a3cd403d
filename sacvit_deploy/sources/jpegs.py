"""Cutting JPEG images out of a stream of bytes: Motion JPEG on a pipe, or over HTTP with its headers in between."""

from __future__ import annotations

import re

from sacvit_deploy.errors import ImageError

START = b"\xff\xd8\xff"  # of an image: the marker SOI, and the first byte of the next one
LIMIT = 64 << 20  # bytes of one image
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in entropy-coded data, all but stuffing and restarts
_SOI, _EOI, _SOS, _APP2 = 0xD8, 0xD9, 0xDA, 0xE2
_BARE = {0x01, *range(0xD0, 0xD8)}  # markers without a length


class JpegSplitter:
    """Finds whole images by their segments: one that is embedded as a thumbnail ends no image.

    What stands between images is skipped. An image that breaks off where the next begins comes as it is, to be refused
    by its decoder. albums: a photograph with several pictures in its file (MPO, Ultra HDR) is one image, to the
    stream's end.
    """

    def __init__(self, *, albums: bool) -> None:
        self._albums = albums
        self._data = bytearray()
        self._inside = self._coded = self._album = False
        self._at = 0  # of the next marker
        self.count = 0  # of images that have ended

    @property
    def inside(self) -> bool:
        """Whether an image has begun and not ended."""
        return self._inside

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take more bytes and return the images that end in them. Raises ImageError for one above the limit."""
        self._data += chunk
        images: list[bytes] = []
        while self._find_start() and (end := self._find_end()) is not None:
            images.append(bytes(self._data[:end]))
            del self._data[:end]
            self._inside = False
            self.count += 1
        if len(self._data) > LIMIT:
            raise ImageError(f"an image in it is larger than {LIMIT >> 20} MB")
        return images

    def rest(self) -> bytes:
        """Return what has come of an image that has not ended."""
        return bytes(self._data) if self._inside else b""

    def _find_start(self) -> bool:
        if self._inside:
            return True
        start = self._data.find(START)
        if start < 0:
            del self._data[: -len(START) + 1]
            return False
        del self._data[:start]
        self._inside, self._coded, self._at = True, False, 2
        return True

    def _find_end(self) -> int | None:
        """Return where the image at the buffer's start ends; None as long as that is not known."""
        data = self._data
        while not self._album:
            if self._coded:
                found = _MARKER.search(data, self._at)
                if found is None:
                    self._at = max(self._at, len(data) - 1)
                    return None
                self._at, self._coded = found.start(), False
            if len(data) < self._at + 2:
                return None
            first, marker = data[self._at : self._at + 2]
            if first != 0xFF:  # no segment follows, though one should: go on at the next marker
                self._coded = True
            elif marker == _EOI:
                return self._at + 2
            elif marker == _SOI:
                return self._at
            elif marker == 0xFF:
                self._at += 1
            elif marker in _BARE:
                self._at += 2
            else:
                if len(data) < self._at + 8:
                    return None
                self._album = self._albums and marker == _APP2 and data[self._at + 4 : self._at + 8] == b"MPF\0"
                self._at += 2 + int.from_bytes(data[self._at + 2 : self._at + 4], "big")
                self._coded = marker == _SOS
        return None
