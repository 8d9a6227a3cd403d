"""What the soak classifies: pictures in many formats and sizes, and files that are no pictures."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

SIDES = (1, 17, 96, 224, 500, 1400)
FORMATS = {"jpg": "RGB", "png": "RGBA", "webp": "RGB", "bmp": "RGB", "gif": "P", "tiff": "RGB", "ppm": "RGB"}
MODES = {"grey.png": "L", "bits.png": "1", "deep.png": "I;16", "alpha.png": "LA", "cmyk.jpg": "CMYK", "grey.jpg": "L"}
ROTATED = 6  # EXIF's orientation: a quarter turn


def write_good(sources: list[Path], folder: Path, seed: int = 0) -> list[Path]:
    """Write pictures made from `sources` in all formats, modes and sides; return their paths."""
    rng = random.Random(seed)
    written = list(sources)
    for ending, mode in FORMATS.items():
        for side in SIDES:
            image = (
                Image.open(rng.choice(sources)).convert("RGB").resize((side, max(1, side * rng.choice((1, 2)) // 2)))
            )
            written.append(_save(image.convert(mode), folder / f"{side}.{ending}"))
    for name, mode in MODES.items():
        image = Image.open(rng.choice(sources)).convert("RGB").resize((300, 200))
        grey = image.convert("L") if mode == "I;16" else image
        written.append(_save(grey.convert(mode), folder / name))
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    turned = folder / "turned.jpg"
    Image.open(sources[0]).convert("RGB").save(turned, exif=exif)
    return [*written, turned]


def write_bad(sources: list[Path], folder: Path, seed: int = 0) -> list[Path]:
    """Write what must give an error and nothing else: cut and empty files, text, folders, bombs, and no file at all."""
    rng = random.Random(seed)
    written = []
    for number, content in enumerate(_damaged(sources, rng)):
        written.append(folder / f"bad{number}.{rng.choice(('jpg', 'png', 'webp'))}")
        written[-1].write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return [*written, folder / "folder.jpg", folder / "missing.png"]


def _damaged(sources: list[Path], rng: random.Random) -> Iterator[bytes]:
    yield b""
    yield b"this is text\n"
    yield b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\x7f\xff\xff\xff" * 2 + b"\x08\x02\0\0\0" + bytes(4)
    for source in rng.sample(sources, 6):
        data = source.read_bytes()
        yield data[: rng.randrange(1, len(data) // 2)]
    buffer = io.BytesIO()
    Image.new("L", (20_000, 20_000)).save(buffer, "png")  # 400 megapixels in 400 kB
    yield buffer.getvalue()


def _save(image: Image.Image, path: Path) -> Path:
    image.save(path)
    return path
