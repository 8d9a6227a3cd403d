"""Stage 1 by itself: exits are answered, the others become requests to a stage 2 that may be elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from sacvit_deploy.arrays import Array
from sacvit_deploy.errors import BackendError, SacvitError
from sacvit_deploy.gate import gate
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.pixel_arrays import Channels, check_channels
from sacvit_deploy.images.prefetch import prefetch
from sacvit_deploy.images.sources import HELD, AnySource, check_batch, claim
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.opened import Opening, to_prediction
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.single_stage import SingleStage, run_groups
from sacvit_deploy.stages.host import HostStages

StageOneResult: TypeAlias = Prediction | StageTwoRequest | SacvitError


class StageOne(SingleStage):
    """Stage 1 of a bundle: opens the EE engine alone.

    The arguments are `SACViT`'s; the engine takes arrays and gives arrays, also where it runs on a device. Safe to use
    from several threads. Its pickle is the folder's path and the options: unpickling opens it. Raises BundleError,
    BackendError, UsageError.
    """

    role = "ee"
    options = (*SingleStage.options, "scaled", "max_pixels", "max_memory", "decode")

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
        max_pixels: int | None = None,
        max_memory: int | None = None,
        decode: str = "cpu",
    ) -> None:
        how = Opening(backend, device, precision, threads, weights, scaled)
        self._open(bundle, replace(how, max_pixels=max_pixels, max_memory=max_memory, decode=decode))

    @property
    def eta(self) -> float:
        """Default eta of the loaded variant."""
        return self.bundle.manifest.eta_of(self.precision)

    def prepare(self, source: ImageSource, channels: Channels = "rgb") -> Item:
        """Decode an image and fit it to [S,S,3]; an error goes into the item, which pickles unless it was `scaled`.

        channels: see `SACViT.predict`.
        """
        return self._prepare(source, check_channels(channels))

    def prepare_batch(self, sources: Sequence[AnySource | Item], channels: Channels = "rgb") -> list[Item]:
        """Prepare images as `prepare` does, in a thread for each core or more for a GPU. Raises UsageError."""
        check_batch(sources)
        prepare = partial(self._prepare, channels=check_channels(channels))
        workers = min(self.opened.preparer.workers, max(1, len(sources)))
        limit = max(1, len(sources))
        taken: Iterable[AnySource | Item] = sources
        return list(prefetch(taken, prepare, limit=limit, workers=workers, claim=self._claim, held=HELD))

    def predict_batch(
        self,
        sources: Sequence[AnySource | Item],
        *,
        eta: float | None = None,
        alpha: float | None = None,
        channels: Channels = "rgb",
    ) -> list[StageOneResult]:
        """Run stage 1 on images in one EE call.

        sources: what `SACViT.predict_batch` takes, or images that `prepare` made. Returns in each one's place a
        Prediction where it exits, a StageTwoRequest where it continues, its error where it is bad. eta, alpha,
        channels: see `SACViT.predict`. Raises UsageError, BackendError.
        """
        eta = check_eta(self.eta if eta is None else eta)
        count = self.config.num_targets(alpha)
        return self.run(self.prepare_batch(sources, channels), eta, count)

    __call__ = predict_batch

    def run(self, items: Sequence[Item], eta: float | Array, count: int) -> list[StageOneResult]:
        """Run stage 1 on images that `prepare` made, as `predict_batch` does. eta: one for all, or [B]. count: M."""
        opened = self.opened
        answers = [Answer(item, error=item.error) for item in items]
        rows = [row for row, item in enumerate(items) if item.pixels is not None or item.scaled is not None]
        requests: dict[int, StageTwoRequest] = {}
        if rows:
            stages = HostStages(opened.cascade, count)
            images = [item.scaled if item.pixels is None else item.pixels for item in (items[row] for row in rows)]
            in_flight = stages.enqueue_stage1(images)  # type: ignore[arg-type]
            threshold = eta if isinstance(eta, float) else eta[rows]
            waiting = [rows[at] for at in gate(stages, in_flight, [answers[row] for row in rows], threshold)]
            inputs = stages.take(len(waiting)) if waiting else None
            for at, row in enumerate(waiting):
                assert inputs is not None
                answer = answers[row]
                requests[row] = StageTwoRequest(
                    opened.variant,
                    answer.item.source,
                    answer.stage_one_probability,
                    inputs.part(at, at + 1),
                    answer.item.timing,
                )
        return [
            requests[row] if row in requests else to_prediction(answer, opened.bundle, row)
            for row, answer in enumerate(answers)
        ]

    def run_each(self, items: Sequence[Item], eta: Array, counts: Sequence[int]) -> list[StageOneResult]:
        """Run stage 1 as `run` does, each image with an eta [B] and an M of its own, in one call for each M.

        A call that fails is the error of its images. Raises BackendError where all of them fail.
        """
        groups = {count: [row for row, each in enumerate(counts) if each == count] for count in dict.fromkeys(counts)}

        def run(count: int, rows: Sequence[int]) -> list[StageOneResult]:
            return self.run([items[row] for row in rows], eta[rows], count)

        def failed(row: int, error: BackendError) -> StageOneResult:
            return items[row].error or BackendError(f"{items[row].source}: {error}")

        results = run_groups(groups, run, failed)
        return [results[row] for row in range(len(items))]

    def _prepare(self, source: AnySource | Item, channels: Channels) -> Item:
        if isinstance(source, Item):
            return replace(source, timing=dict(source.timing))  # it may be given again
        preparer = self.opened.preparer
        return (preparer.scaled if self._how.scaled else preparer.full)(source, channels)

    def _claim(self, source: AnySource | Item) -> tuple[AnySource | Item, int]:
        return (source, 0) if isinstance(source, Item) else claim(source, self.opened.preparer.bounds)
