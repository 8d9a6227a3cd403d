"""PNGs and JPEGs that few programs write: for compare_decode.py, which asks both runtimes for each."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

# An interlaced PNG's passes: the first column and row, and the steps to the next ones.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
SIGNATURE = b"\x89PNG\r\n\x1a\n"
KINDS = (
    (1, 0),
    (2, 0),
    (4, 0),
    (8, 0),
    (16, 0),
    (8, 2),
    (16, 2),
    (1, 3),
    (4, 3),
    (8, 3),
    (8, 4),
    (16, 4),
    (8, 6),
    (16, 6),
)
EXIF = b"II*\0" + struct.pack("<LHHHLHH", 8, 1, 0x0112, 3, 1, 6, 0) + bytes(4)
XMP = b'<x tiff:Orientation="8"/>'
PROFILE = b"\nexif\n%8d\n%s\n" % (len(EXIF) + 6, (b"Exif\0\0" + EXIF).hex().encode())

Chunks = list[tuple[bytes, bytes]]


def joined(chunks: Chunks, *, wrong: int = -1) -> bytes:
    """Make a file of chunks; the sum of the one at `wrong` is."""
    out = SIGNATURE
    for number, (name, data) in enumerate(chunks):
        out += (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ (number == wrong))
        )
    return out


def split(raw: bytes, rng: np.random.Generator) -> Chunks:
    """Divide a zlib stream among up to five chunks of pixels, some empty."""
    cuts = sorted(int(at) for at in rng.integers(0, len(raw) + 1, int(rng.integers(0, 5))))
    return [(b"IDAT", raw[at:end]) for at, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def rows(rng: np.random.Generator, width: int, height: int, bits: int, *, interlaced: bool) -> bytes:
    """Make filtered random rows of `bits` for each pixel."""
    out = b""
    for left, top, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, lines = -(-(width - left) // across), -(-(height - top) // down)
        for _ in range(lines if columns > 0 else 0):
            out += bytes([int(rng.integers(5))]) + rng.bytes((columns * bits + 7) // 8)
    return out


def header(width: int, height: int, depth: int, colour: int, interlaced: int = 0) -> tuple[bytes, bytes]:
    """Make the first chunk."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def ordinary(rng: np.random.Generator, depth: int, colour: int) -> Chunks:
    """Make the chunks of a PNG, interlaced or not, its pixels in several pieces."""
    width, height = (int(v) for v in rng.integers(1, 24, 2))
    interlaced = bool(rng.integers(2))
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    out = [header(width, height, depth, colour, int(interlaced))]
    if colour == 3:
        out.append((b"PLTE", rng.bytes(3 * int(rng.integers(1, (1 << depth) + 1)))))
    packed = zlib.compress(rows(rng, width, height, bits, interlaced=interlaced), wbits=int(rng.choice([9, 12, 15])))
    return [*out, *split(packed, rng), (b"IEND", b"")]


def extras(rng: np.random.Generator) -> Chunks:
    """Give chunks that may stand beside the pixels, right and wrong ones."""
    text = zlib.compress(b"x" * 1000)
    large, just = zlib.compress(bytes((1 << 20) + 1)), zlib.compress(bytes(1 << 20))
    return [
        *((b"tRNS", rng.bytes(size)) for size in (0, 1, 2, 5, 6, 7, 255, 256, 257)),
        *((b"tRNS", alphas) for alphas in (b"\0", b"\xff\0", b"\xff\0\xff\n", b"\xff\0\n", b"\n\0")),
        *((b"PLTE", rng.bytes(size)) for size in (0, 3, 7, 768, 771)),
        *(
            (b"eXIf", data)
            for data in (EXIF, b"", b"Exif\0\0" + EXIF, b"Exif\0\0Exif\0\0" + EXIF, b"MM\0*\0\0\0\x08\xff\xff")
        ),
        *(
            (b"tEXt", b"Raw profile type exif\0" + data)
            for data in (PROFILE, b"", b"\n\n\n0", b"\n\n\nzz", PROFILE.upper())
        ),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
        (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE.replace(b"\n", b"\n \t"))),
        (b"iTXt", b"Raw profile type exif\0\0\0\0\0" + PROFILE),
        (b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(PROFILE)),
        *((b"iTXt", b"XML:com.adobe.xmp\0" + data) for data in (b"\0\0\0\0" + XMP, b"\1\0\0\0" + zlib.compress(XMP))),
        *(
            (b"iTXt", b"XML:com.adobe.xmp\0" + data)
            for data in (b"\0\0\0\0\xff" + XMP, b"\1\1\0\0" + XMP, b"\0", b"\0\0\0")
        ),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\xff\0\0" + XMP),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)[:-5]),
        (b"tEXt", b"XML:com.adobe.xmp\0" + XMP),
        (b"tEXt", b"exif\0" + EXIF),
        (b"zTXt", b"exif\0\0" + zlib.compress(EXIF)),
        *((b"tEXt", data) for data in (b"", b"\0", b"key", b"key\0" + b"v" * (2 << 20))),
        *((b"zTXt", data) for data in (b"", b"k", b"k\0", b"k\0\1x", b"k\0\0x", b"k\0\0" + text, b"k\0\0" + text[:-6])),
        *((b"zTXt", b"k\0\0" + data) for data in (large, just, just[:-1], just[:-4], large[:-4], just + b"more")),
        *((b"iTXt", b"k\0\1\0\0\0" + data) for data in (large, just, text)),
        *((b"iCCP", b"p\0\0" + data) for data in (large, just, text, b"", b"rubbish")),
        *((b"iCCP", data) for data in (b"", b"p", b"p\0", b"p\0\1" + text, b"\0\0")),
        *((name, bytes(size)) for name in (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"IHDR") for size in (0, 3, 8, 13, 40)),
        *(
            (name, rng.bytes(9))
            for name in (b"bKGD", b"tIME", b"sBIT", b"hIST", b"sPLT", b"abCd", b"ABCD", b"A1_d", b"a?cd")
        ),
        (b"IHDR", struct.pack(">IIBBBBB", 5, 5, 7, 9, 0, 0, 0)),
        (b"IHDR", struct.pack(">IIBBBBB", 5, 5, 8, 2, 0, 1, 1)),
        *((b"acTL", struct.pack(">II", count, 0)) for count in (0, 1, 2, 0x80000001)),
        (b"acTL", b"short"),
        *(
            (b"fcTL", frame(*numbers))
            for numbers in ((0, 5, 5), (0, 1, 1), (1, 1, 1), (0, 0, 0), (0, 99, 99), (0, 1, 1, 1, 1))
        ),
        *((b"fdAT", data) for data in (b"", b"\0\0\0\1", b"\0\0\0\2abc")),
        *((name, b"") for name in (b"IDAT", b"DDAT", b"IEND")),
    ]


def frame(number: int, across: int, down: int, left: int = 0, top: int = 0) -> bytes:
    """Make what describes an animation's frame."""
    return struct.pack(">IIIIIHHBB", number, across, down, left, top, 1, 10, 0, 0)


def animations(rng: np.random.Generator) -> Iterator[Chunks]:
    """Give animated PNGs, whole and with errors."""
    for depth, colour in KINDS:
        for first in (True, False):
            chunks = ordinary(rng, depth, colour)
            width, height = struct.unpack(">II", chunks[0][1][:8])
            at = next(number for number, (name, _) in enumerate(chunks) if name == b"IDAT")
            control = [(b"fcTL", frame(0, width, height))]
            second = [(b"fcTL", frame(int(first), width, height)), (b"fdAT", struct.pack(">I", 1 + first) + b"x")]
            start = [*chunks[:at], (b"acTL", struct.pack(">II", 2, 0)), *(control if first else [])]
            yield [*start, *chunks[at:-1], *second, chunks[-1]]
            yield [*start, *chunks[at:-1], (b"fcTL", frame(7, 1, 1)), *second, chunks[-1]]
            yield [*chunks[:at], *control, *chunks[at:-1], *second, chunks[-1]]
            pixels = b"".join(data for name, data in chunks if name == b"IDAT")
            yield [*chunks[:at], *control, (b"fdAT", struct.pack(">I", 1) + pixels), chunks[-1]]
            small = (int(rng.integers(0, width + 1)), int(rng.integers(0, height + 1)))
            left, top = (int(rng.integers(0, rest + 1)) for rest in (width - small[0], height - small[1]))
            bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
            part = zlib.compress(rows(rng, max(small[0], 1), max(small[1], 1), bits, interlaced=chunks[0][1][12] == 1))
            yield [*chunks[:at], (b"fcTL", frame(0, *small, left, top)), *split(part, rng), chunks[-1]]


def pngs(rng: np.random.Generator, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Give PNGs of odd chunks in odd places: a name, the bytes."""
    for _ in range(rounds):
        for depth, colour in KINDS:
            for _ in range(4):
                yield f"odd png {depth}/{colour}", joined(ordinary(rng, depth, colour))
        for chunk in extras(rng):
            for place in ("before", "after", "first"):
                chunks = ordinary(rng, *KINDS[int(rng.integers(len(KINDS)))])
                at = {"before": next(n for n, (name, _) in enumerate(chunks) if name == b"IDAT"), "first": 0}
                chunks.insert(at.get(place, len(chunks) - 1), chunk)
                yield f"odd png with {chunk[0].decode()} {chunk[1][:24]!r} {place}", joined(chunks)
        for chunks in animations(rng):
            yield "odd png, animated", joined(chunks)
        many = [(b"iTXt", b"k%d\0\0\0\0\0" % number + b"b" * 900_000) for number in range(80)]
        chunks = ordinary(rng, 8, 2)
        yield "odd png, 72 MB of texts", joined([chunks[0], *many, *chunks[1:]])
        for name in (b"tEXt", b"zTXt", b"iTXt", b"sPLT", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"abCd", b"IDAT", b"fdAT"):
            for length in (0x7FFFFFFF, 0xFFFFFFFF, 1 << 30):
                bomb = struct.pack(">I", length) + name + b"few bytes"
                yield f"odd png, {name.decode()} of {length} bytes claimed", joined(chunks[:1]) + bomb
                yield f"odd png, {name.decode()} of {length} bytes claimed, behind", joined(chunks[:-1]) + bomb


def rearranged(rng: np.random.Generator, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Give PNGs whose chunks are left out, doubled, swapped, changed within or cut, all with right sums but one."""
    for _ in range(rounds):
        chunks = ordinary(rng, *KINDS[int(rng.integers(len(KINDS)))])
        if rng.random() < 0.5:
            chosen = extras(rng)
            chunks.insert(int(rng.integers(1, len(chunks))), chosen[int(rng.integers(len(chosen)))])
        for _ in range(int(rng.integers(1, 3))):
            at, other = (int(v) for v in rng.integers(0, len(chunks), 2))
            what = int(rng.integers(5))
            if what == 0 and len(chunks) > 1:
                del chunks[at]
            elif what == 1:
                chunks.insert(other, chunks[at])
            elif what == 2:
                chunks[at], chunks[other] = chunks[other], chunks[at]
            elif chunks[at][1]:
                name, data = chunks[at]
                changed = bytearray(data)
                if what == 3:
                    changed[int(rng.integers(len(changed)))] ^= int(rng.integers(1, 256))
                chunks[at] = name, bytes(changed[: int(rng.integers(len(changed)))] if what == 4 else changed)
        raw = joined(chunks, wrong=int(rng.integers(len(chunks))) if rng.random() < 0.2 else -1)
        if rng.random() < 0.3:
            raw = raw[: len(raw) - int(rng.integers(1, 40))]
        yield "odd png, rearranged", raw
