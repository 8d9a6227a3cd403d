"""From an image to its answer, among many: decoding in threads, then stage 1 and stage 2, each in batches.

An answer that is cancelled ends the image's way: the step it waits for is cancelled with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from sacvit_deploy.batcher import Batcher
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.images.workers import Workers
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.opened import to_prediction
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.serving.metrics import Metrics
from sacvit_deploy.serving.settings import Settings
from sacvit_deploy.serving.urls import TIMEOUT, fetch
from sacvit_deploy.stage_one import StageOne, StageOneResult
from sacvit_deploy.stage_two import StageTwo

Result: TypeAlias = Prediction | SacvitError
StageTwoResult: TypeAlias = Answer | SacvitError
FETCHES = 32  # at a time; of --max-body each, they fill what may be held by default
ENDING = 5.0  # seconds that the end waits for engine calls at hand


@dataclass(frozen=True)
class Job:
    """An image before stage 1: what `StageOne.prepare` made, its eta, its M, and when it was queued."""

    item: Item
    eta: float
    count: int
    queued: float


@dataclass(frozen=True)
class Continuing:
    """An image before stage 2, and when it was queued."""

    request: StageTwoRequest
    queued: float


class ResultFuture(Future[Result]):
    """The answer of an image that goes from step to step, each with a future of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._step: Future[Any] | None = None

    def follow(self, step: Future[Any], go_on: Callable[[Any], object]) -> None:
        """Go on with a step's result; what fails on the way ends this future, which else never ends."""

        def callback(step: Future[Any]) -> None:
            try:
                if not self.cancelled():
                    go_on(step.result())
            except BaseException as error:
                if not self.done():
                    self.set_exception(error)
            if self._step is step:
                self._step = None

        self._step = step  # no longer than it runs, as its result is an image's arrays
        step.add_done_callback(callback)
        if self.cancelled():
            step.cancel()

    def cancel(self) -> bool:
        """Cancel the answer and the step that it waits for."""
        cancelled = super().cancel()
        if cancelled and (step := self._step) is not None:
            step.cancel()
        return cancelled


class Pipeline:
    """Both stages of a bundle behind two batchers; an image that exits is answered without waiting for the others."""

    def __init__(self, one: StageOne, two: StageTwo, settings: Settings, metrics: Metrics) -> None:
        self.one, self.two, self._metrics = one, two, metrics
        self._threads = Workers(one.opened.preparer.workers)
        self._fetchers = Workers(FETCHES, "sacvit-fetch")  # a slow address must keep no image from being decoded
        batch, delay = settings.max_batch, settings.max_delay
        self._stage1: Batcher[Job, StageOneResult] = Batcher("ee", self._run_one, lambda job: job.count, batch, delay)
        self._stage2: Batcher[Continuing, StageTwoResult] = Batcher(
            "sac", self._run_two, lambda job: job.request.targets, batch, delay
        )

    def in_thread(self, call: Callable[[], Any]) -> Future[Any]:
        """Run something that takes long in one of the threads that decode."""
        return self._threads.submit(call)

    def fetch(self, url: str, limit: int) -> Future[bytes]:
        """Fetch an image of up to `limit` bytes, in a thread for such; its time begins now."""
        return self._fetchers.submit(fetch, url, limit, time.monotonic() + TIMEOUT)

    def classify(self, name: str, source: Any, eta: float, count: int) -> Future[Result]:
        """Classify one image: a file's bytes, or an array. name: what it is called in the answer. count: M."""
        done = ResultFuture()
        given = [source]
        done.follow(self._threads.submit(self._prepare, name, given), partial(self._to_stage1, eta, count, done))
        done.add_done_callback(lambda _: given.clear())  # a call that was cancelled stays in the threads' queue
        return done

    def answer(self, request: StageTwoRequest) -> Future[StageTwoResult]:
        """Answer a request to stage 2, which `StageTwo.check` let pass."""
        return self._stage2.submit(Continuing(request, time.monotonic()))

    def count(self, result: Result | Answer) -> None:
        """Count an answer."""
        failed = isinstance(result, SacvitError) or (isinstance(result, Answer) and result.error is not None)
        outcome = "error" if failed else "exit" if getattr(result, "stage", 0) == 1 else "continue"
        self._metrics.images.labels(outcome).inc()

    def close(self) -> None:
        """Give up what was not decoded yet and end the threads, without waiting for them for more than `ENDING`."""
        end = time.monotonic() + ENDING
        self._fetchers.close()
        self._threads.close()
        for stage in (self._stage1, self._stage2):
            stage.close(max(0.0, end - time.monotonic()))

    def _prepare(self, name: str, given: list[Any]) -> Item:
        start = time.monotonic()
        item = self.one.opened.preparer.full(Claimed(name, given.pop()))
        self._metrics.seconds.labels("prepare").observe(time.monotonic() - start)
        return item

    def _to_stage1(self, eta: float, count: int, done: ResultFuture, item: Item) -> None:
        if item.error is not None:
            done.set_result(item.error)
            return
        job = Job(item, eta, count, time.monotonic())
        done.follow(self._stage1.submit(job), partial(self._after_stage1, done))

    def _after_stage1(self, done: ResultFuture, result: StageOneResult) -> None:
        if not isinstance(result, StageTwoRequest):
            done.set_result(result)
            return
        done.follow(self.answer(result), lambda answer: done.set_result(self._finished(answer)))

    def _finished(self, answer: StageTwoResult) -> Result:
        return answer if isinstance(answer, SacvitError) else to_prediction(answer, self.two.bundle, 0)

    def _run_one(self, jobs: Sequence[Job]) -> Sequence[StageOneResult]:
        start = self._begin("ee", [job.queued for job in jobs])
        results = self.one.run([job.item for job in jobs], np.array([job.eta for job in jobs]), jobs[0].count)
        self._metrics.seconds.labels("ee").observe(time.monotonic() - start)
        return results

    def _run_two(self, jobs: Sequence[Continuing]) -> Sequence[StageTwoResult]:
        start = self._begin("sac", [job.queued for job in jobs])
        results = self.two.answers([job.request for job in jobs])
        self._metrics.seconds.labels("sac").observe(time.monotonic() - start)
        return results

    def _begin(self, stage: str, queued: Sequence[float]) -> float:
        start = time.monotonic()
        self._metrics.batch.labels(stage).observe(len(queued))
        for since in queued:
            self._metrics.seconds.labels("queue").observe(start - since)
        return start
