"""JPEGs from many threads, decoded and fitted to [S,S,3] on a device in batches, by a thread of its own."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.nvimgcodec.jpeg_decoder import DecodedJpeg
from sacvit_deploy.backends.onnxruntime.fit_model import SIZES
from sacvit_deploy.batcher import Batcher
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.device.linear import LinearMemory, take_rows
from sacvit_deploy.device.protocol import DeviceEngine, DeviceTensor, Memory, Stream
from sacvit_deploy.errors import BackendError
from sacvit_deploy.forks import forget_in_children, keep_forever
from sacvit_deploy.images.decode import LARGE
from sacvit_deploy.images.jpeg_header import JpegHeader, read_jpeg_header
from sacvit_deploy.images.resize_weights import FitWeights, fit_weights
from sacvit_deploy.images.strips import SIDEWAYS, Turn
from sacvit_deploy.ranges import in_range

BATCH = 64  # images decoded in one call, and threads that wait for them
MOST_PIXELS = 1 << 24  # of an image; larger ones are the processor's, whose memory is accounted for
BATCH_PIXELS = 1 << 26  # of a call: 192 MiB of decoded pixels
KEPT = 256 << 20  # bytes of weights on the device
BYTE = np.dtype(np.uint8)
Key = tuple[tuple[int, int], Turn | None]


class Decoder(Protocol):
    """What decodes a list of files: `JpegDecoder`, or one that a benchmark puts in its place."""

    def decode(self, files: Sequence[bytes], stream: Stream) -> list[DecodedJpeg | None]:
        """See `JpegDecoder.decode`."""


@dataclass(frozen=True)
class Job:
    """A JPEG to be decoded: its file's bytes, and its header."""

    data: bytes
    header: JpegHeader


class DeviceJpegs:
    """Decodes JPEGs for any number of threads, in batches of what waits. Raises BackendError where it can't be opened.

    open_engine: opens the model of `fit_model`, for images that are turned sideways or not, in a stream.
    """

    def __init__(
        self,
        decoder: Decoder,
        memory: Memory,
        open_engine: Callable[[bool, Stream], DeviceEngine],
        config: ModelConfig,
    ) -> None:
        bench = Workbench(decoder, memory, open_engine, config)
        self._batcher: Batcher[Job, Pixels | BackendError | None] = Batcher(
            "jpeg", bench.work, lambda job: None, BATCH, 0.0, ended=bench.close
        )
        self._forked = False
        self._closing = weakref.finalize(self, self._batcher.close, 0.0)
        self._closing.atexit = False  # the libraries may have gone by then
        forget_in_children(self)

    def forget(self) -> None:
        """Refuse all work in a forked child, which has neither the thread nor the device."""
        self._closing.detach()
        keep_forever(self._batcher)
        self._forked = True

    def fit(self, data: bytes, most_pixels: int) -> Pixels | None:
        """Decode a file and fit it to [S,S,3] as `fit` does; waits for its batch.

        None for what is the processor's: no JPEG, an unusual, a large or a damaged one, one of more than `most_pixels`.
        Raises BackendError.
        """
        if self._forked:
            raise BackendError(
                "this model was opened before the process was forked, and a GPU serves only the process that opened "
                "it; open SACViT in the child, or start children by spawn"
            )
        header = read_jpeg_header(data) if len(data) <= LARGE else None
        if header is None or header.size[0] * header.size[1] > min(most_pixels, MOST_PIXELS):
            return None
        result = self._batcher.submit(Job(data, header)).result()
        if isinstance(result, BackendError):
            raise result
        return result


class Workbench:
    """What one thread decodes and fits with: a stream, the two engines, weights by size, and the batch's memory."""

    def __init__(
        self,
        decoder: Decoder,
        memory: Memory,
        open_engine: Callable[[bool, Stream], DeviceEngine],
        config: ModelConfig,
    ) -> None:
        assert isinstance(memory, LinearMemory)  # decoded images are addresses
        self._decoder, self._memory, self._config = decoder, memory, config
        memory.activate()
        self._stream = memory.stream()
        self._engines = {sideways: open_engine(sideways, self._stream) for sideways in (False, True)}
        side = config.geometry.image_size
        self._fitted = memory.allocate((BATCH, side, side, 3), BYTE)
        self._answers: Pixels = memory.pinned((BATCH, side, side, 3), BYTE)
        self._weights: OrderedDict[Key, dict[str, DeviceTensor]] = OrderedDict()
        self._kept = 0

    @in_range("JPEGs")
    def work(self, jobs: Sequence[Job]) -> list[Pixels | BackendError | None]:
        """Answer jobs, of which there are up to BATCH. Each image that an error kept from being decoded has its own."""
        results: list[Pixels | BackendError | None] = []
        self._memory.activate()
        for part in parts(jobs):
            try:
                results += self._fit(part)
            except BackendError as error:
                results += [BackendError(str(error)) for _ in part]  # as each gets its image's name and position
        return results

    def _fit(self, jobs: Sequence[Job]) -> list[Pixels | BackendError | None]:
        fitted: dict[int, int] = {}  # rows of the answers, by job
        decoded = self._decoder.decode([job.data for job in jobs], self._stream)
        for at, (job, image) in enumerate(zip(jobs, decoded, strict=True)):
            if image is not None and self._enqueue(job.header, image, len(fitted)):
                fitted[at] = len(fitted)
        if not fitted:
            return [None] * len(jobs)
        answers = self._answers[: len(fitted)]
        self._memory.download(answers, take_rows(self._fitted, 0, len(fitted)), self._stream)
        self._memory.synchronize(self._memory.record_event(self._stream))
        # Copies, as the next batch comes into their place.
        return [answers[fitted[at]].copy() if at in fitted else None for at in range(len(jobs))]

    def _enqueue(self, header: JpegHeader, image: DecodedJpeg, row: int) -> bool:
        """Queue the fitting of an image into a row; tells whether it is one that can be fitted here."""
        width, height = header.size
        if image.pixels.shape != (height, width, 3):
            return False
        weights = self._weights_of((header.size, header.turn))
        if weights is None:
            return False
        place = take_rows(self._fitted, row, row + 1)
        target = DeviceTensor(place.handle, place.shape[1:], BYTE)
        engine = self._engines[header.turn in SIDEWAYS]
        engine.enqueue({"pixels": image.pixels, "fitted": target, **weights}, self._stream)
        return True

    def _weights_of(self, key: Key) -> dict[str, DeviceTensor] | None:
        """Return the weights of images of a size and turn, which go up once; None where there are none."""
        if key not in self._weights:
            found = fit_weights(*key, self._config.geometry.image_size, self._config.preprocessing)
            if found is None:  # not kept: nothing would bound how many there are
                return None
            self._weights[key] = self._upload(found)
            while self._kept > KEPT and len(self._weights) > 1:
                self._free(self._weights.popitem(last=False)[1])
        self._weights.move_to_end(key)
        return self._weights[key]

    def _upload(self, weights: FitWeights) -> dict[str, DeviceTensor]:
        tensors = {}
        for name in SIZES:
            array = getattr(weights, name)
            tensors[name] = self._memory.allocate(array.shape, array.dtype)
            self._memory.upload(tensors[name], array, self._stream)
            self._kept += array.nbytes
        return tensors

    def _free(self, tensors: dict[str, DeviceTensor]) -> None:
        for tensor in tensors.values():
            self._memory.free(tensor)  # after all work that was queued
            self._kept -= tensor.nbytes

    def close(self) -> None:
        """Free the device's memory and the stream, whose work is done."""
        self._memory.activate()
        while self._weights:
            self._free(self._weights.popitem()[1])
        self._memory.free(self._fitted)
        self._engines.clear()
        self._memory.close_stream(self._stream)


def parts(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Divide jobs into parts of no more than BATCH_PIXELS each."""
    part: list[Job] = []
    total = 0
    for job in jobs:
        pixels = job.header.size[0] * job.header.size[1]
        if part and total + pixels > BATCH_PIXELS:
            yield part
            part, total = [], 0
        part.append(job)
        total += pixels
    if part:
        yield part
