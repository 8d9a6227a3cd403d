"""Changes of a PNG that its checksums and its compression don't give away: what is behind those checks is reached."""

from __future__ import annotations

import struct
import zlib
from random import Random

from tests.mutations.mutate import damaged

SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def split(raw: bytes) -> list[Chunk]:
    """Return the whole chunks of a PNG: name and data."""
    chunks, at = [], len(SIGNATURE)
    while at + 12 <= len(raw):
        end = at + 8 + struct.unpack_from(">I", raw, at)[0]
        if end + 4 > len(raw):
            break
        chunks.append((raw[at + 4 : at + 8], raw[at + 8 : end]))
        at = end + 4
    return chunks


def joined(chunks: list[Chunk]) -> bytes:
    """Return a PNG of these chunks, with the right sums."""
    out = [SIGNATURE]
    for name, data in chunks:
        out.append(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    return b"".join(out)


def rearranged(raw: bytes, random: Random) -> bytes:
    """Leave out, double, exchange or change one chunk; of pixels and texts, sometimes what is packed in them."""
    chunks = split(raw)
    if not chunks:
        return raw
    at, other, what = random.randrange(len(chunks)), random.randrange(len(chunks)), random.randrange(8)
    if what == 0:
        del chunks[at]
    elif what == 1:
        chunks.insert(other, chunks[at])
    elif what == 2:
        chunks[at], chunks[other] = chunks[other], chunks[at]
    else:
        name, data = chunks[at]
        chunks[at] = name, repacked(data, random) if what > 4 else damaged(data, random)
    return joined(chunks)


def repacked(data: bytes, random: Random) -> bytes:
    """Change what is packed behind a chunk's key, and pack it again; other data are changed as they are."""
    for start in (0, data.find(b"\0\0") + 2):
        try:
            return data[:start] + zlib.compress(damaged(zlib.decompress(data[start:]), random))
        except zlib.error:
            continue
    return damaged(data, random)


def summed(raw: bytes) -> bytes:
    """Put the right sums into a PNG as far as its chunks go."""
    chunks = split(raw)
    done = joined(chunks)
    return done + raw[len(done) :]
