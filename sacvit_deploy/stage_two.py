"""Stage 2 by itself: answers the requests of a stage 1 that may be elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacvit_deploy.cascade import Cascade
from sacvit_deploy.contract import STAGES
from sacvit_deploy.errors import BackendError, SacvitError
from sacvit_deploy.gate import finish
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.opened import Opening, to_prediction
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.request import NAMELESS, StageTwoRequest, check_request
from sacvit_deploy.single_stage import SingleStage, open_as, run_groups
from sacvit_deploy.stage_one import StageOne, StageOneResult
from sacvit_deploy.stages.host import HostStages


class StageTwo(SingleStage):
    """Stage 2 of a bundle: opens the SAC engine alone.

    The arguments are `SACViT`'s; the engine takes arrays and gives arrays, also where it runs on a device. Safe to use
    from several threads. Its pickle is the folder's path and the options: unpickling opens it. Raises BundleError,
    BackendError, UsageError.
    """

    role = "sac"

    def predict_batch(self, requests: Sequence[StageOneResult | bytes]) -> list[Prediction | SacvitError]:
        """Answer requests in one SAC call, or one for each M where their alphas differ.

        requests: what StageOne gave, or a request's bytes; predictions and errors stay in their places. A request that
        is damaged, of another bundle or of another precision gives a RequestError in its place. Where one of several
        calls fails, its requests have a BackendError in their places. Raises BackendError where all calls fail.
        """
        bundle = self.bundle
        results: list[Prediction | SacvitError] = []
        answers = iter(self.answers([one for one in requests if not isinstance(one, Prediction)]))
        for at, request in enumerate(requests):
            result = request if isinstance(request, Prediction) else next(answers)
            if isinstance(result, SacvitError) and result.position is None:
                result.position = at
            results.append(to_prediction(result, bundle, at) if isinstance(result, Answer) else result)
        return results

    __call__ = predict_batch

    def answers(self, requests: Sequence[StageTwoRequest | bytes | SacvitError]) -> list[Answer | SacvitError]:
        """Answer requests as `predict_batch` does, with logits."""
        cascade = self.opened.cascade
        checked: dict[int, StageTwoRequest] = {}
        results: dict[int, Answer | SacvitError] = {}
        by_targets: dict[int, list[int]] = {}
        for at, request in enumerate(requests):
            try:
                one = checked[at] = self.check(request)
            except SacvitError as error:
                results[at] = error
            else:
                by_targets.setdefault(one.targets, []).append(at)

        def run(count: int, rows: Sequence[int]) -> list[Answer | SacvitError]:
            return list(_answer(cascade, count, [checked[row] for row in rows]))

        def failed(row: int, error: BackendError) -> Answer | SacvitError:
            return BackendError(f"{checked[row].source or NAMELESS}: {error}")

        results |= run_groups(by_targets, run, failed)
        return [results[at] for at in range(len(requests))]

    def check(self, request: StageTwoRequest | bytes | SacvitError) -> StageTwoRequest:
        """Return a request that this stage can answer. Raises RequestError, and an error that stands in its place."""
        if isinstance(request, SacvitError):
            raise request
        if not isinstance(request, StageTwoRequest):
            request = StageTwoRequest.from_bytes(request)
        check_request(request, self.opened.variant, self.config, self.precision)
        return request


def _answer(cascade: Cascade, count: int, requests: Sequence[StageTwoRequest]) -> list[Answer]:
    """Answer requests of one M, `count`, in one SAC call. Raises BackendError."""
    stages, answers = HostStages(cascade, count), []
    for one in requests:
        stages.put(one.inputs)
        item = Item(one.source or NAMELESS, None, timing=dict(one.timing))
        answers.append(Answer(item, stage_one_probability=one.stage_one_probability))
    finish(stages, stages.enqueue_stage2(len(requests)), answers)
    return answers


def both_stages(bundle: str | os.PathLike[str], **how: Any) -> tuple[StageOne, StageTwo]:
    """Open a bundle once and return its two stages, which are certainly of the same files. how: as `StageOne`.

    Raises BundleError, BackendError, UsageError.
    """
    folder, opening = Path(bundle).absolute(), Opening(**how)
    opened = open_as(folder, opening, STAGES)
    return StageOne.sharing(folder, opened, opening), StageTwo.sharing(folder, opened, opening)
