"""JPEGs decoded and fitted by Pillow on all cores, and by nvImageCodec on the device: images a second, and differences.

On the CPU nvImageCodec decodes by libjpeg-turbo, so the step is tried, and its speed there means nothing.
"""

from __future__ import annotations

import dataclasses
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.nvimgcodec.device_jpegs import BATCH, DeviceJpegs
from sacvit_deploy.backends.nvimgcodec.jpeg_decoder import DecodedJpeg
from sacvit_deploy.backends.nvimgcodec.open_jpegs import open_jpegs
from sacvit_deploy.benchmarks.gpu_check.check_settings import Row, Settings
from sacvit_deploy.benchmarks.gpu_check.labels import answer, compare
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceTensor, Stream, TensorSpec
from sacvit_deploy.errors import BackendError
from sacvit_deploy.images.budget import limits
from sacvit_deploy.images.prefetch import prefetch
from sacvit_deploy.images.strips import ORIENTATION
from sacvit_deploy.item import Item
from sacvit_deploy.model import SACViT
from sacvit_deploy.preparing import Preparer

SIZES = ((500, 375), (1280, 960), (4000, 3000))  # ImageNet's mean, a web page's, a phone's
KINDS: dict[str, dict[str, Any]] = {
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "restarts": {"restart_marker_blocks": 4},
}  # of JPEGs whose pixels are compared, beside ordinary, grey and turned ones


def measure(settings: Settings) -> Iterator[Row]:
    """Yield rows: rates by size, differences by kind, and labels of the pictures. Raises BackendError."""
    plain, other = preparers(settings.speed, settings)
    for width, height in SIZES[: 1 if settings.on_cpu else None]:
        few = max(1, BATCH * 500 * 375 // (width * height))  # of the largest as many pixels, not as many images
        files = [photograph(width, height, seed) for seed in range(min(few, 16))]
        count = settings.least if settings.on_cpu else max(16 * few, 32)
        alone = "the host's part alone", free(plain, files), 8 * count  # so many that starting threads is no part of it
        for title, preparer, images in (("Pillow", plain, count), ("nvImageCodec", other, count), alone):
            yield {"images": f"{width}x{height}", "by": title, **rate(preparer, files, images, settings.rounds)}
    for kind, data in kinds().items():
        yield {"images": kind, **difference(other, plain, [data])}
    if settings.pictures is not None:
        plain, other = preparers(settings.example, settings)
        pictures = [path for path in sorted(settings.pictures.iterdir()) if path.suffix == ".jpg"]
        yield {
            "images": "the pictures",
            **difference(other, plain, pictures),
            **labels(settings, other, plain, pictures),
        }


def preparers(bundle: Path, settings: Settings) -> tuple[Preparer, Preparer]:
    """Return what prepares a bundle's images: by Pillow alone, and on the device. Raises BackendError, BundleError."""
    device = parse_device(settings.device)
    if not settings.on_cpu and device.name != "cuda":
        raise BackendError("nvImageCodec decodes on NVIDIA GPUs alone")
    plain = Preparer(open_bundle(bundle).manifest.config, limits())
    jpegs = open_jpegs(plain.config, None if settings.on_cpu else device.number)
    return plain, dataclasses.replace(plain, jpegs=jpegs)


class FreeDecoder:
    """A decoder that costs nothing: the pixels of every file are the same memory."""

    def __init__(self, pixels: Pixels) -> None:
        self._decoded = DecodedJpeg(DeviceTensor(pixels.ctypes.data, pixels.shape, pixels.dtype), pixels)

    def decode(self, files: Sequence[bytes], stream: Stream) -> list[DecodedJpeg | None]:
        return [self._decoded] * len(files)


class FreeEngine:
    """A resizing model that costs nothing and leaves its output as it is."""

    inputs: Mapping[str, TensorSpec] = {}
    outputs: Mapping[str, TensorSpec] = {}

    def rows(self, size: int) -> int:
        return size

    def enqueue(self, tensors: Mapping[str, DeviceTensor], stream: Stream) -> None:
        """Take next to no time."""


def free(plain: Preparer, files: Sequence[bytes]) -> Preparer:
    """Return what prepares images of one size with a decoder and models that cost nothing: Python's part is left."""
    with Image.open(io.BytesIO(files[0])) as image:
        decoder = FreeDecoder(np.zeros((image.height, image.width, 3), np.uint8))
    jpegs = DeviceJpegs(decoder, HostMemory(), lambda sideways, stream: FreeEngine(), plain.config)
    return dataclasses.replace(plain, jpegs=jpegs)


def rate(preparer: Preparer, files: Sequence[bytes], count: int, rounds: int) -> Row:
    """Decode and fit `count` images as a stream does, with the threads that it takes; the median round's rate."""
    rates, busy = [], 0.0
    for round_ in range(rounds + 1):
        sources = [files[number % len(files)] for number in range(count)]
        begin, used = time.perf_counter(), time.process_time()
        items = list(prefetch(sources, preparer.full, limit=2 * BATCH, workers=preparer.workers))
        if round_:  # the first one sets memory and threads up
            rates.append(count / (time.perf_counter() - begin))
            busy = (time.process_time() - used) / count
        for item in items:
            if item.error is not None:
                raise item.error
    bytes_each = round(sum(map(len, files)) / len(files))
    return {"threads": preparer.workers, "images/s": float(np.median(rates)), "cpu us": 1e6 * busy, "bytes": bytes_each}


def difference(found: Preparer, expected: Preparer, sources: Sequence[bytes | Path]) -> Row:
    """Compare pixels [S,S,3]: images that the device decoded, the largest difference, and the share of equal bytes."""
    assert found.jpegs is not None
    on_device, most, equal = 0, 0, 0.0
    for source in sources:
        item = found.full(source)
        off = np.abs(pixels_of(item).astype(np.int16) - pixels_of(expected.full(source)))
        on_device += "preprocess" not in item.timing
        most, equal = max(most, int(off.max())), equal + float((off == 0).mean())
    return {"count": len(sources), "on the device": on_device, "most off": most, "equal bytes": equal / len(sources)}


def labels(settings: Settings, found: Preparer, expected: Preparer, pictures: Sequence[Path]) -> Row:
    """Compare the example model's labels, of the CPU in fp32, for pictures decoded both ways."""
    model = SACViT(settings.example, device="cpu", precision="fp32")
    count = model.config.num_targets()
    one, other = (
        answer(model, [pixels_of(preparer.full(path)) for path in pictures], model.eta, count, 32)
        for preparer in (found, expected)
    )
    return {key: value for key, value in compare(one, other).items() if key.endswith("equal")}


def pixels_of(item: Item) -> Pixels:
    """Return an item's pixels. Raises its error."""
    if item.pixels is None:
        raise item.error or BackendError(f"{item.source} got no pixels")
    return item.pixels


def kinds() -> dict[str, bytes]:
    """Return a JPEG of each kind that may come out differently on a device."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    found = {"ordinary": photograph(500, 375, 0), "turned": photograph(500, 375, 0, exif=exif)}
    found |= {kind: photograph(500, 375, 0, **options) for kind, options in KINDS.items()}
    grey = io.BytesIO()
    Image.open(io.BytesIO(found["ordinary"])).convert("L").save(grey, "JPEG")
    return {**found, "grey": grey.getvalue()}


def photograph(width: int, height: int, seed: int, **options: Any) -> bytes:
    """Make a JPEG about as detailed as a photograph: smooth shapes, and noise on them."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8))
    pixels = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    pixels = (pixels + random.integers(-9, 10, pixels.shape, dtype=np.int16)).clip(0, 255)
    data = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(data, "JPEG", **{"quality": 85, **options})
    return data.getvalue()
