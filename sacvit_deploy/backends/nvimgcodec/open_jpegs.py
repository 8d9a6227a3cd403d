"""Open the decoding of JPEGs on a GPU, and try it, so that what keeps it from working shows at once."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.nvimgcodec.device_jpegs import DeviceJpegs
from sacvit_deploy.backends.nvimgcodec.jpeg_decoder import INSTALL, JpegDecoder, load_library
from sacvit_deploy.backends.onnxruntime.bound import BoundSession
from sacvit_deploy.backends.onnxruntime.device import cuda_options
from sacvit_deploy.backends.onnxruntime.fit_model import fit_model
from sacvit_deploy.backends.onnxruntime.session import CPU, CUDA, SessionFactory
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.device.protocol import DeviceEngine, Memory, Stream
from sacvit_deploy.errors import BackendError
from sacvit_deploy.images.budget import MAX_PIXELS
from sacvit_deploy.images.decode import fit_image
from sacvit_deploy.images.strips import ORIENTATION

NEAR = 8  # by how much a byte of a smooth image may differ from Pillow's


def open_jpegs(config: ModelConfig, number: int | None, device_memory: int | None = None) -> DeviceJpegs:
    """Open nvImageCodec and the resizing models on the GPU of that number; None: on the processor, for trials.

    device_memory: MB that each of the two models may take. Raises BackendError where the library, a GPU or ONNX
    Runtime's CUDA provider is missing.
    """
    load_library()
    memory: Memory = HostMemory()
    if number is not None:
        from sacvit_deploy.device.cuda import CudaMemory

        try:
            memory = CudaMemory(number)
        except BackendError as error:
            raise BackendError(f"no GPU decodes JPEGs here ({error}); leave out --decode gpu (decode=)") from error
    sessions = SessionFactory(1, CPU if number is None else CUDA)
    location = "cpu" if number is None else "cuda"

    def open_engine(sideways: bool, stream: Stream) -> DeviceEngine:
        options = {} if number is None else cuda_options(int(stream), number, device_memory)
        session = sessions.open(fit_model(sideways), provider_options=options)
        return BoundSession(session, "resizing a JPEG", location, number or 0)

    jpegs = DeviceJpegs(JpegDecoder(number), memory, open_engine, config)
    for orientation in (1, 6):
        _try(jpegs, config, _trial(orientation))
    return jpegs


def _try(jpegs: DeviceJpegs, config: ModelConfig, data: bytes) -> None:
    found = jpegs.fit(data, MAX_PIXELS)
    if found is None:
        raise BackendError(f"nvImageCodec decodes no JPEG on this device; nvJPEG comes with: {INSTALL}")
    expected: Pixels = fit_image(data, config.geometry.image_size, config.preprocessing)
    most = int(np.abs(found.astype(np.int16) - expected).max())
    if most > NEAR:
        raise BackendError(
            f"nvImageCodec's pixels are up to {most} from Pillow's on this device, in an image whose should be equal "
            "or near; decode on the CPU"
        )


def _trial(orientation: int) -> bytes:
    """Return a smooth JPEG of 96 x 64, no two of whose corners are alike, turned by EXIF."""
    rows, columns = np.mgrid[0:64, 0:96]
    exif, data = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    pixels = np.stack([3 * rows, 2 * columns, 255 - rows - columns], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(data, "JPEG", quality=95, exif=exif)
    return data.getvalue()
