"""The header of a JPEG, read without decoding anything: which ones a GPU may decode, and how they lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import Image

from sacvit_deploy.images.strips import ORIENTATION, TURNS, Turn

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
# Scans of a file. Progressive ones have some ten; a decoder passes over the whole image for each, be it of 33 bytes.
MOST_SCANS = {0xC0: 1, 0xC1: 1, 0xC2: 32}
_EOI, _SOS, _APP0, _APP1, _APP2, _APP14, _COM = 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
_FRAMES = tuple(MOST_SCANS)  # baseline, extended, progressive, with Huffman's codes; the other frames are rare
_TABLES = (0xC4, 0xDB, 0xDD)  # Huffman's, quantisation, restart interval
_LUMA = (0x11, 0x21, 0x12, 0x22, 0x41)  # its sampling, across and down, where chroma's is 1 x 1
_EXIF = b"Exif\0\0"
_BEGINNING = re.compile(rb"\xff[\xc0-\xc3\xc5-\xcf\xd8]")  # of an image or a frame
_AFTER_CODES = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # what is no stuffed byte, restart or filling


@dataclass(frozen=True)
class JpegHeader:
    """What is known of a JPEG: width and height, px, as stored, and how it is turned to stand upright."""

    size: tuple[int, int]
    turn: Turn | None = None


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the header of a JPEG of one or three components of 8 bits, grey or YCbCr, which is alone and whole.

    None for everything else, damage and doubt included: Pillow decodes that, or says what is wrong.
    """
    if data[:2] != SOI:
        return None
    at, size, layers, turn, scans = 2, (0, 0), 0, None, 0
    known = exif = False  # whether the file says that it is YCbCr; whether there was an EXIF block
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:
            certain = size != (0, 0) and (layers == 1 or known)
            return JpegHeader(size, turn) if certain and _is_whole(data, at, scans) else None
        if end > len(data):
            break
        body = data[at + 4 : min(end, at + 32)]
        if marker in _FRAMES:
            if size != (0, 0) or len(body) < 6 or not _is_common(body):
                return None
            size, layers = (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")), body[5]
            scans = MOST_SCANS[marker]
            known = known or body[6::3] == b"\x01\x02\x03"
        elif marker == _APP0:
            known = known or body[:5] == b"JFIF\0"
        elif marker == _APP14:
            if body[:5] == b"Adobe":
                if body[11:12] != b"\x01":  # RGB as it is, or CMYK
                    return None
                known = True
        elif marker == _APP1:
            block = data[at + 4 : end]
            # Pillow joins several EXIF blocks, and looks for a turn in XMP where EXIF has none.
            if b"Orientation" in block or (exif and block[:6] == _EXIF):
                return None
            if block[:6] == _EXIF:
                exif = True
                turn = _turn(block)
        elif marker == _APP2:
            if body[:4] == b"MPF\0":  # several images in one file
                return None
        elif marker in _TABLES:
            if data.find(SOI, at + 4, end) >= 0:  # cut off, and another image behind it
                return None
        elif marker != _COM and marker >> 4 != 0xE:
            return None
        at = end
    return None


def _is_whole(data: bytes, at: int, scans: int) -> bool:
    """Tell whether from the first scan's marker on there are up to `scans` of them, the tables between, and an end.

    False also where there is another image or frame, even behind the end: its size may be anything.
    """
    while data[at + 1] != _EOI:
        if data[at + 1] == _SOS:
            scans -= 1
        elif data[at + 1] not in _TABLES:
            return False
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        found = _AFTER_CODES.search(data, end)
        if found is None or scans < 0 or _BEGINNING.search(data, at + 2, end + 1) is not None:
            return False
        at = found.start()
    return _BEGINNING.search(data, at) is None


def _is_common(frame: bytes) -> bool:
    """Tell whether a frame, from its precision on, has 8 bits, a size, and components as cameras write them."""
    layers = frame[5]
    if frame[0] != 8 or layers not in (1, 3) or len(frame) != 6 + 3 * layers:
        return False
    sampling = frame[7::3]
    plain = layers == 1 or (sampling[0] in _LUMA and sampling[1:] == b"\x11\x11")
    return plain and b"\0\0" not in (frame[1:3], frame[3:5])


def _turn(block: bytes) -> Turn | None:
    """Return the turn that an EXIF block asks for, as `DecodedImage` does: none if it is broken."""
    try:
        exif = Image.Exif()
        exif.load(block)
        return TURNS.get(exif.get(ORIENTATION, 1))
    except Exception:
        return None
