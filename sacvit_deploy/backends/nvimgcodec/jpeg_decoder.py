"""NVIDIA's nvImageCodec: a list of JPEGs decoded in one call, each into memory of the device."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.device.protocol import DeviceTensor, Stream
from sacvit_deploy.errors import BackendError, first_line, import_library

INSTALL = "pip install 'sacvit-deploy[gpu,nvjpeg]'"
# Chroma is interpolated as libjpeg does, which is Pillow's; the library's own default in Python is the faster repeat.
OPTIONS = ":fancy_upsampling=1"
NAME, VERBOSITY = "nvidia.nvimgcodec", "PYNVIMGCODEC_VERBOSITY"


@dataclass(frozen=True)
class DecodedJpeg:
    """An image [height,width,3] uint8, RGB as stored. owner: keeps its memory."""

    pixels: DeviceTensor
    owner: Any


def load_library() -> Any:
    """Import nvImageCodec. Raises BackendError with the install command."""
    if NAME in sys.modules or VERBOSITY in os.environ:
        return import_library(NAME, "nvImageCodec", INSTALL)
    # When it is imported it asks once whether to print a warning for every image that it leaves to others, and prints
    # five lines about libraries for other formats in any case.
    os.environ[VERBOSITY] = "0"
    try:
        with _without_stderr():
            return import_library(NAME, "nvImageCodec", INSTALL)
    finally:
        os.environ.pop(VERBOSITY, None)


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep what is written to the process's stderr, by libraries in C, from being seen."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class JpegDecoder:
    """Decodes JPEGs on one GPU; on the processor, by libjpeg-turbo, where `number` is None: tests do. Not thread-safe.

    Raises BackendError.
    """

    def __init__(self, number: int | None) -> None:
        library = load_library()
        kinds = library.BackendKind
        # What none of these takes is Pillow's: the library's own decoders for the processor are other ones.
        allowed = [kinds.HW_GPU_ONLY, kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU] if number is not None else [kinds.CPU_ONLY]
        device = library.NVIMGCODEC_DEVICE_CPU_ONLY if number is None else number
        self._library = library
        self._interface = "__array_interface__" if number is None else "__cuda_array_interface__"
        try:
            self._decoder = library.Decoder(
                device_id=device,
                max_num_cpu_threads=usable_cores(),
                backends=[library.Backend(kind) for kind in allowed],
                options=OPTIONS,
            )
            # Turned upright later, with the resizing, by the CPU's own rule.
            self._how = library.DecodeParams(apply_exif_orientation=False, color_spec=library.ColorSpec.SRGB)
        except Exception as error:  # the library's own
            raise BackendError(f"nvImageCodec can't decode here ({first_line(error)})") from error

    def decode(self, files: Sequence[bytes], stream: Stream) -> list[DecodedJpeg | None]:
        """Decode files, whose pixels are there for what is put into `stream` from now on.

        None in the place of what this device does not decode. Raises BackendError.
        """
        try:
            streams = [self._parsed(data) for data in files]
            images = self._decoder.decode(streams, params=self._how, cuda_stream=0 if stream is None else int(stream))
            return [None if image is None else self._decoded(image) for image in images]
        except Exception as error:  # the library's own
            raise BackendError(f"nvImageCodec failed to decode ({first_line(error)})") from error

    def _parsed(self, data: bytes) -> Any:
        try:
            return self._library.CodeStream(data)
        except Exception:  # the library's own, of a header that it reads otherwise
            return None

    def _decoded(self, image: Any) -> DecodedJpeg | None:
        facts = getattr(image, self._interface)
        shape = tuple(int(size) for size in facts["shape"])
        dense = (shape[1] * shape[2], shape[2], 1) if len(shape) == 3 else None
        if facts["typestr"] != "|u1" or facts.get("strides") not in (None, dense) or shape[2:] != (3,):
            return None
        return DecodedJpeg(DeviceTensor(int(facts["data"][0]), shape, np.dtype(np.uint8)), image)
