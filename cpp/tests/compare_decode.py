"""Compare the two decoders: images of every kind, whole and damaged, through Python and through `decode_probe`.

Exits with 1 if an image comes out different, if a whole one is refused, or if one runtime answers where the other
refuses.
"""

from __future__ import annotations

import argparse
import io
import resource
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from odd_images import pngs, rearranged
from odd_jpegs import jpegs
from PIL import Image, PngImagePlugin

from sacvit_deploy.config import Preprocessing
from tests.mutations.decoding import decoded, request

# Bit depth and colour type, without palettes.
DEPTHS = ((1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6))
MOST = 700  # MB; a chunk that claims a gigabyte gets none
BAD = ("different", "only C++ refuses", "only Python refuses", "a whole image is refused")

# libjpeg-turbo's code for one processor saturates wild coefficients otherwise than that for another.
TOLERATED = "damaged JPEGs different on another processor"
# It reads them from version 3 on; Pillow has it inside.
LOSSLESS = "lossless JPEGs refused for libjpeg-turbo's sake"


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """Make one chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(rng: np.random.Generator, depth: int, colour: int, *extra: bytes, before: bytes = b"") -> bytes:
    """Make a PNG of random samples of any bit depth and colour type, with more chunks before its pixels."""
    width, height = (int(v) for v in rng.integers(1, 60, 2))
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = (width * channels * depth + 7) // 8
    rows = b"".join(b"\0" + rng.integers(0, 256, row, dtype=np.uint8).tobytes() for _ in range(height))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + before
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def exif_block(orientation: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """Make a TIFF structure whose only entry is the orientation."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order]
    value = {3: "HH", 4: "L", 1: "BBBB", 8: "hh", 9: "l"}[kind]
    data = struct.pack(order + value, orientation, *[0] * (len(value) - 1))
    return head + struct.pack(order + "LHHHL", 8, 1, 0x0112, kind, count) + data + b"\0" * 4


def photograph(rng: np.random.Generator, mode: str = "RGB") -> Image.Image:
    """Make an image between noise and a photograph, of a random size."""
    width, height = (int(v) for v in rng.integers(1, 300, 2))
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.blend(image, Image.fromarray(noise), float(rng.random()) * 0.5).convert(mode)


def whole(rng: np.random.Generator, rounds: int) -> Iterator[tuple[str, bytes]]:
    """Give undamaged files of many kinds: a name, the bytes."""
    for _ in range(rounds):
        for mode in ("RGB", "L", "CMYK"):
            for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
                for options in ({}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}):
                    settings = {"quality": int(rng.integers(20, 100)), "subsampling": subsampling, **options}
                    yield f"jpeg {mode} {settings}", encode(photograph(rng, mode), "JPEG", **settings)
        for orientation in range(10):
            for order in "<>":
                block = b"Exif\0\0" + exif_block(orientation, order)
                yield f"jpeg exif {orientation}", encode(photograph(rng), "JPEG", exif=block)
                extra = chunk(b"eXIf", exif_block(orientation, order))
                yield f"png exif {orientation}", png(rng, 8, 2, extra)
        for kind in (1, 4, 8, 9):
            block = b"Exif\0\0" + exif_block(6, "<", kind)
            yield f"jpeg exif kind {kind}", encode(photograph(rng), "JPEG", exif=block)
        for xmp in ('tiff:Orientation="6"', "<tiff:Orientation>8</tiff:Orientation>", 'tiff:Orientation="x"'):
            yield f"jpeg xmp {xmp}", encode(photograph(rng), "JPEG", xmp=xmp.encode())
            info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", xmp)
            yield f"png xmp {xmp}", encode(photograph(rng), "PNG", pnginfo=info)
        for depth, colour in DEPTHS:
            yield f"png {depth}/{colour}", png(rng, depth, colour)
            if colour in (0, 2):
                key = rng.integers(0, 1 << min(depth, 8), 3 if colour else 1)
                yield f"png {depth}/{colour} key", png(rng, depth, colour, chunk(b"tRNS", key.astype(">u2").tobytes()))
        for depth in (1, 2, 4, 8):
            palette = chunk(b"PLTE", rng.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes())
            yield f"png {depth}/3", png(rng, depth, 3, before=palette)
            short = chunk(b"PLTE", rng.integers(0, 256, 3 * ((1 << depth) - 1), dtype=np.uint8).tobytes())
            yield f"png {depth}/3 short palette", png(rng, depth, 3, before=short)
            for alphas in (rng.integers(0, 256, 1 << depth, dtype=np.uint8).tobytes(), b"\xff\0", b"\0\0", b"\0"):
                yield f"png {depth}/3 {alphas[:2]!r}", png(rng, depth, 3, chunk(b"tRNS", alphas), before=palette)
        for mode in ("RGB", "RGBA", "L", "P"):
            yield f"png interlaced? {mode}", encode(photograph(rng, mode), "PNG")


def damaged(rng: np.random.Generator, files: list[tuple[str, bytes]], rounds: int) -> Iterator[tuple[str, bytes]]:
    """Give some of the files cut short or with bytes changed: a name, the bytes."""
    for _ in range(rounds):
        kind, raw = files[int(rng.integers(len(files)))]
        if rng.random() < 0.4:
            yield f"{kind}, cut", raw[: int(rng.integers(1, len(raw)))]
            continue
        changed = bytearray(raw)
        for at in rng.integers(0, len(raw), int(rng.integers(1, 4))):
            changed[at] ^= int(rng.integers(1, 256))
        yield f"{kind}, changed", bytes(changed)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("probe", nargs="+", help="decode_probe, an emulator before it if need be")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--damaged", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--other-processor", action="store_true", help="damaged JPEGs may come out different")
    parser.add_argument("--keep", type=Path, help="folder for the images that differ")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(arguments.seed)
    files = list(whole(rng, arguments.rounds))
    good = len(files)
    files += list(damaged(rng, files, arguments.damaged))
    files += [*pngs(rng, arguments.rounds), *rearranged(rng, arguments.damaged), *jpegs(rng, arguments.rounds)]
    counts = dict.fromkeys(("equal", "both refuse", TOLERATED, LOSSLESS, *BAD), 0)
    process = subprocess.Popen(arguments.probe, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        for number, (kind, raw) in enumerate(files):
            path.write_bytes(raw)
            interpolation = "bicubic" if rng.random() < 0.5 else "bilinear"
            resize, rounding = str(rng.choice(["shortest_edge", "squash"])), str(rng.choice(["floor", "nearest"]))
            crop = float(rng.choice([0.875, 1.0, 0.9]))
            recipe = Preprocessing(interpolation, crop, resize=resize, resize_rounding=rounding)  # type: ignore[arg-type]
            size = int(rng.choice([32, 64, 224, 288]))
            process.stdin.write(f"{request(size, recipe, path)}\n")
            process.stdin.flush()
            theirs, ours = process.stdout.readline().strip().partition("\t")[2], decoded(raw, size, recipe)
            verdict = judge(theirs, ours, number < good)
            if verdict == "different" and arguments.other_processor and number >= good and kind.startswith("jpeg"):
                verdict = TOLERATED
            if verdict == "only C++ refuses" and kind.startswith("lossless") and "SOF type 0xc3" in theirs:
                verdict = LOSSLESS
            counts[verdict] += 1
            if verdict in BAD:
                print(f"{verdict}: {kind}: {theirs} | {ours}")
                if arguments.keep:
                    (arguments.keep / str(number)).write_bytes(raw)
    process.stdin.close()
    ended = process.wait()
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"{len(files)} images:", ", ".join(f"{count} {name}" for name, count in counts.items()))
    print(f"C++ took {most} MB at most")
    return int(any(counts[name] for name in BAD) or ended != 0 or most > MOST)


def judge(theirs: str, ours: str, whole: bool) -> str:
    """Compare the two answers for one image."""
    cpp_refuses, python_refuses = (answer.startswith("error: ") for answer in (theirs, ours))
    if cpp_refuses and python_refuses:
        return "a whole image is refused" if whole else "both refuse"
    if cpp_refuses:
        return "only C++ refuses"
    if python_refuses:
        return "only Python refuses"
    return "equal" if theirs == ours else "different"


if __name__ == "__main__":
    sys.exit(main())
