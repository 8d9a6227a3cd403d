"""The public class: a bundle opened for inference."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.cpu import check_threads
from sacvit_deploy.device_answers import DeviceAnswers, answer_tensors
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.forks import no_fork
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.budget import limits
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.live_source import Keep
from sacvit_deploy.images.pixel_arrays import Channels, check_channels
from sacvit_deploy.images.sources import AnySource, check_batch
from sacvit_deploy.model_parts import ModelParts
from sacvit_deploy.opened import OpenedModel, Opening, open_model
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.stream import Stream, begin_borrowed, begin_stream, check_pace

if TYPE_CHECKING:  # asyncio takes long to import
    from sacvit_deploy.asynchronous import AsyncStream, Calls

WARM = 6  # batches, three in each of two sets of buffers


class SACViT(ModelParts):
    """A bundle opened for inference.

    bundle: the folder; None looks for one as the commands do. backend, device, precision, threads: `auto` and None
    choose the best for this machine; a named one runs, or opening fails. device: "cpu", "cuda:1", "cuda:0,cuda:1" for
    both, which take a stream's batches in turn, "webgpu" or an execution provider's name; provider: what it was called
    in the first versions. weights: "packed" for speed, "mapped" to open at once and keep one copy for both engines.
    capture: on WebGPU and CUDA, record calls and replay them. scaled: decode large JPEGs at a fraction of their size
    for stage 1, and in full only where they continue (`scaled.py`; changes stage 1's view a little).
    decode: "gpu" decodes and resizes most JPEGs on an NVIDIA GPU, the first of `device`, by nvImageCodec (docs/gpu.md).
    device_memory: MB that each engine may take of an NVIDIA GPU in ONNX Runtime.
    max_pixels, max_memory: what an image may have, and the MB that all images being decoded may take (`budget.py`).
    stage_two: `http://host:port` of a `sacvit serve` that runs stage 2 in place of an engine here. stage_two_timeout,
    stage_two_retries: seconds for one try, and further tries. stage_two_fallback: where it gives no answer, "error" is
    a RemoteError in the image's place, "stage_one" stage 1's answer, with the reason in `Prediction.fallback`.
    The bundle's files are read once, here: what happens to the folder later changes no answer, until `reload`.
    `close`, or the end of a `with` block, lets the engines go. Safe to use from several threads. A forked child reads
    the same files again and opens engines of its own, at its first image (on a GPU it is refused). A pickle
    is the folder's path and these options: unpickling opens it.
    Raises BundleError, BackendError, UsageError.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        device: str | None = None,
        precision: str = "auto",
        threads: int | None = None,
        weights: str = "packed",
        scaled: bool = False,
        capture: bool = False,
        max_pixels: int | None = None,
        max_memory: int | None = None,
        provider: str | None = None,
        device_memory: int | None = None,
        stage_two: str | None = None,
        stage_two_timeout: float = 2.0,
        stage_two_retries: int = 1,
        stage_two_fallback: str = "error",
        decode: str = "cpu",
    ) -> None:
        # Absolute, as the process may change its folder before it reloads.
        self._folder = Path(find_bundle() if bundle is None else bundle).absolute()
        self._how = Opening(
            backend, device or provider, precision, threads, weights, scaled, capture, max_pixels, max_memory,
            device_memory, stage_two, stage_two_timeout, stage_two_retries, stage_two_fallback, decode,
        )  # fmt: skip
        self._bounds = limits(max_pixels, max_memory)
        self._reloading = threading.Lock()
        self._calls: Calls | None = None
        self._opened: OpenedModel | None = open_model(self._folder, self._how, self._bounds)

    def warm(self, batch_size: int = 1, *, alpha: float | None = None) -> None:
        """Run blank images through both stages, so that the first real ones wait for no engine to open.

        batch_size, alpha: of the calls to come. Of several devices, all are warmed. Raises BackendError, UsageError.
        """
        side = self.config.geometry.image_size
        blank = np.zeros((side, side, 3), np.uint8)
        # Often enough for what repeats to be recorded, on every device.
        count = WARM * batch_size * max(1, len(self.opened.pools))
        for answer in self.stream(
            itertools.repeat(blank, count), batch_size=batch_size, eta=1.0, alpha=alpha, workers=1
        ):
            if isinstance(answer, SacvitError):
                raise answer

    def close(self) -> None:
        """Let go of the engines, their memory and their threads; using the model afterwards is a UsageError.

        Streams under way end with what they began with, which goes when they do.
        """
        with no_fork(), self._reloading:
            self._opened = None

    def reload(self) -> None:
        """Open the bundle that is in the folder now, in the same way, and answer with it from then on.

        Streams under way end with what they began with, which is in memory until then. Where opening fails, what was
        opened before goes on answering. Raises BundleError, BackendError, UsageError, which it also is after `close`.
        """
        with no_fork(), self._reloading:
            _ = self.opened
            self._opened = open_model(self._folder, self._how, self._bounds)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder and the options; unpickling opens the bundle anew."""
        return partial(SACViT, self._folder, **asdict(self._how)), ()

    def predict(
        self, source: ImageSource, *, eta: float | None = None, alpha: float | None = None, channels: Channels = "rgb"
    ) -> Prediction:
        """Classify one image: a path, bytes, a file open for reading bytes, PIL image, array or tensor.

        An array is H x W, H x W x C or C x H x W with 1, 3 or 4 channels, of uint8 or of floats from 0 to 1; a tensor
        is one of torch or any library with DLPack, on the CPU. Where a shape can be read in two ways it is refused.
        channels: the order of an array's, "rgb", or "bgr" as OpenCV has it. eta and alpha: the bundle's defaults
        unless given. Raises ImageError, OutputError, UsageError.
        """
        result = self.predict_batch([source], eta=eta, alpha=alpha, channels=channels)[0]
        if isinstance(result, SacvitError):
            raise result
        return result

    __call__ = predict

    def predict_batch(
        self,
        sources: Sequence[ImageSource],
        *,
        eta: float | None = None,
        alpha: float | None = None,
        channels: Channels = "rgb",
    ) -> list[Prediction | SacvitError]:
        """Classify images in one EE call and at most one SAC call; a bad image gives its error in its place.

        sources: a list of what `predict` takes, or an array or tensor [B,H,W,C] or [B,C,H,W]. A tensor on the GPU that
        the model runs on stays there; it must be [B,S,S,3] uint8, resized and cropped as the model wants it. The rest:
        see `predict`. Raises UsageError for one image in place of several.
        """
        check_batch(sources)
        size = max(1, len(sources))
        workers = 1 if size == 1 else None
        return list(self.stream(sources, batch_size=size, eta=eta, alpha=alpha, workers=workers, channels=channels))

    def predict_tensors(self, images: Any, *, eta: float | None = None, alpha: float | None = None) -> DeviceAnswers:
        """Classify images that are on the model's GPU as `predict_batch` does, and leave the logits there, too.

        images: a tensor [B,S,S,3] uint8 of torch or any library with DLPack, resized and cropped as the model wants
        it. What `logits` of the answers is, the same libraries take in place: `torch.from_dlpack(answers.logits)`.
        Raises UsageError, also for a model that is not on a GPU, or on one by WebGPU; BackendError.
        """
        opened = self.opened
        eta = check_eta(opened.eta if eta is None else eta)
        return answer_tensors(opened, images, eta=eta, count=opened.config.num_targets(alpha))

    def stream(
        self,
        sources: Iterable[AnySource],
        *,
        batch_size: int | None = None,
        eta: float | None = None,
        alpha: float | None = None,
        workers: int | None = None,
        channels: Channels = "rgb",
        max_delay: float | None = None,
        keep: Keep = "all",
    ) -> Stream:
        """Classify any number of images, in order, with bounded memory; a bad image gives its error in its place.

        Worker threads (one for each core unless given) decode and resize ahead of the engines; continuing images of
        several EE batches are joined to whole SAC batches of `batch_size`, 64 unless given. What an image can be, eta,
        alpha and channels: see `predict`. Each answer, an error too, has the `position` of its image.

        max_delay, keep: for a camera and other sources that set the pace, which a thread of their own then reads.
        Both stages begin with what there is as soon as they have nothing else to do. max_delay: seconds after which an
        image waits for no others, only for calls under way. keep: "latest" drops images that wait when newer ones come,
        so that answers keep up with the source: of those not begun it keeps `batch_size`, 1 unless given.

        A PIL image, array, buffer or open file is copied when it's taken, in the thread that takes it: its owner may
        change or reuse it as soon as the next one is asked for. Where the sources' own iterator raises, the answers of
        the images before come first, then its exception. Raises UsageError for one image in place of several.
        """
        check_batch(sources)
        pace = check_pace(batch_size, max_delay, keep)
        opened = self.opened  # to the end of the stream
        workers = opened.preparer.workers if workers is None else check_threads(workers, "workers")
        eta = check_eta(opened.eta if eta is None else eta)
        for pool in opened.pools:
            pool.check(pace.batch)
        count = opened.config.num_targets(alpha)
        if len(opened.pools) == 1 and opened.pools[0].holds(sources):
            return begin_borrowed(opened, sources, check_channels(channels), eta=eta, count=count, batch=pace.batch)
        preparer = opened.preparer
        prepare = partial(preparer.scaled if self._how.scaled else preparer.full, channels=check_channels(channels))
        return begin_stream(opened, sources, prepare, eta=eta, count=count, pace=pace, workers=workers)

    async def apredict(
        self, source: ImageSource, *, eta: float | None = None, alpha: float | None = None, channels: Channels = "rgb"
    ) -> Prediction:
        """Classify one image as `predict` does, in a thread, for asyncio; as many at a time as there are cores.

        The source must stay as it is until the answer is there, or the call was cancelled before it was begun.
        """
        from sacvit_deploy.asynchronous import Calls

        if self._calls is None:
            self._calls = Calls()
        return await self._calls.run(partial(self.predict, source, eta=eta, alpha=alpha, channels=channels))

    def astream(self, sources: Iterable[ImageSource] | AsyncIterable[ImageSource], **options: Any) -> AsyncStream:
        """Classify any number of images as `stream` does, for `async for`; a thread runs it and reads the sources.

        sources: may be an asynchronous iterable, too, of the running event loop. options: those of `stream`.
        """
        from sacvit_deploy.asynchronous import AsyncStream, from_async

        if isinstance(sources, AsyncIterable):
            sources = from_async(sources)
        return AsyncStream(self.stream(sources, **options))
