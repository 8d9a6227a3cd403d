"""One mutated image by its number: any case can be made again by itself."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sacvit_deploy.config import Preprocessing
from tests.mutations.mutate import damaged
from tests.mutations.picture_seeds import FORMATS
from tests.mutations.png_changes import SIGNATURE, rearranged, summed

SIZE = 64  # px, the side that images are fitted to
HEADER, END = 160, 400  # bytes; a TIFF's tags stand at its end
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif", "PPM": ".ppm"}


@dataclass(frozen=True)
class Picture:
    """A mutated image: the format it had, its bytes, how it is fitted."""

    number: int
    kind: str
    raw: bytes
    recipe: Preprocessing

    @property
    def name(self) -> str:
        """A file name."""
        return f"{self.number:06}{SUFFIXES[self.kind]}"

    @property
    def cpp_reads(self) -> bool:
        """Whether its first bytes are those of a format that C++ reads."""
        return self.raw.startswith((b"\xff\xd8\xff", SIGNATURE))


def picture(seeds: dict[str, list[bytes]], seed: int, number: int) -> Picture:
    """Make the mutated image of that number; the formats take turns."""
    random, kind = Random(f"{seed} picture {number}"), FORMATS[number % len(FORMATS)]
    raw = mutated(random.choice(seeds[kind]), random)
    interpolation, resize = random.choice(("bicubic", "bilinear")), random.choice(("shortest_edge", "squash"))
    rounding, crop = random.choice(("floor", "nearest")), random.choice((0.875, 1.0, 0.9))
    return Picture(number, kind, raw, Preprocessing(interpolation, crop, resize=resize, resize_rounding=rounding))


def mutated(raw: bytes, random: Random) -> bytes:
    """Change a byte or some, or damage more: anywhere, or only what stands at a file's beginning or end."""
    png = raw.startswith(SIGNATURE)
    if png and random.random() < 0.6:
        return rearranged(raw, random)
    place, change = random.random(), nudged if random.random() < 0.6 else damaged
    if place < 0.4:
        raw = change(raw, random)
    elif place < 0.8:
        raw = change(raw[:HEADER], random) + raw[HEADER:]
    else:
        raw = raw[:-END] + change(raw[-END:], random)
    return summed(raw) if png and random.random() < 0.6 else raw


def nudged(raw: bytes, random: Random) -> bytes:
    """Change one to three bytes: most images are images still."""
    data = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 3)) if raw else 0):
        data[random.randrange(len(data))] = random.choice((0, 1, 2, 127, 128, 254, 255, random.randrange(256)))
    return bytes(data)
