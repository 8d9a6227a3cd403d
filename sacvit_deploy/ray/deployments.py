"""Both stages as deployments of Ray Serve, each with replicas of its own, and a router that clients call."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from starlette.requests import Request
from starlette.responses import JSONResponse

from sacvit_deploy.errors import BackendError, OutputError, RequestError, SacvitError, UsageError, first_line
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.item import Item
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.stage_one import StageOne
from sacvit_deploy.stage_two import StageTwo

TRIES = 3  # of a call whose replica dies: another replica answers it, and nothing is done twice but arithmetic
QUEUED = 8  # batches that may wait for a deployment; beyond them 503, as a queue that grows answers nobody in time
BODY = 64 << 20  # bytes of an image's file
OURS = (BackendError, OutputError, RequestError)  # no other image would have helped


class Call(NamedTuple):
    """An image on its way to stage 1. data: a file's bytes, or an array. eta, alpha: None takes the bundle's."""

    name: str
    data: Any
    eta: float | None = None
    alpha: float | None = None


class Failure(NamedTuple):
    """An error on its way to the router: Ray would wrap an exception into one of its own. status: HTTP's."""

    error: str
    status: int


class Batching:
    """What both deployments have in common: calls that come at the same time run as one batch.

    user_config: `batch`, the most calls, and `delay`, seconds that they wait for others; Serve can change both later.
    """

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """Take a new batch size and delay."""
        self.run.set_max_batch_size(config["batch"])  # type: ignore[attr-defined]
        self.run.set_batch_wait_timeout_s(config["delay"])  # type: ignore[attr-defined]


class StageOneReplica(Batching):
    """Stage 1: gives an answer, a failure, or the bytes of a request to stage 2."""

    def __init__(self, bundle: str, how: Mapping[str, Any]) -> None:
        self._one = StageOne(bundle, **how)

    @serve.batch  # type: ignore[untyped-decorator]
    async def run(self, calls: list[Call]) -> list[dict[str, Any] | bytes | Failure]:
        """Answer calls as one batch; an engine's call does not keep the next ones from being queued."""
        return await asyncio.to_thread(self._answer, calls)

    def _answer(self, calls: Sequence[Call]) -> list[dict[str, Any] | bytes | Failure]:
        one = self._one
        items, gates = [], []
        prepared = one.prepare_batch([Claimed(_name(call.name), call.data) for call in calls])
        for call, item in zip(calls, prepared, strict=True):
            try:
                gate = check_eta(one.eta if call.eta is None else call.eta), one.config.num_targets(call.alpha)
            except SacvitError as error:
                item, gate = Item(item.source, None, error), (1.0, 1)
            items.append(item)
            gates.append(gate)
        etas, counts = zip(*gates, strict=True)
        results = one.run_each(items, np.array(etas), counts)
        return [result.to_bytes() if isinstance(result, StageTwoRequest) else _plain(result) for result in results]


class StageTwoReplica(Batching):
    """Stage 2: answers the bytes of requests."""

    def __init__(self, bundle: str, how: Mapping[str, Any]) -> None:
        self._two = StageTwo(bundle, **how)

    @serve.batch  # type: ignore[untyped-decorator]
    async def run(self, requests: list[bytes]) -> list[dict[str, Any] | Failure]:
        """Answer requests as one batch."""
        return [_plain(answer) for answer in await asyncio.to_thread(self._two.predict_batch, requests)]


class Router:
    """What clients call, over HTTP or by its handle: stage 1, and stage 2 for images that continue."""

    def __init__(self, one: Any, two: Any) -> None:
        self._one, self._two = one, two

    async def predict(
        self, data: Any, name: str = "image", eta: float | None = None, alpha: float | None = None
    ) -> dict[str, Any] | Failure:
        """Classify one image, a file's bytes or an array; the answer is `Prediction.to_dict`'s."""
        result: dict[str, Any] | bytes | Failure = await _call(self._one, Call(name, data, eta, alpha))
        if isinstance(result, bytes):
            answer: dict[str, Any] | Failure = await _call(self._two, result)
            return answer
        return result

    async def __call__(self, http: Request) -> JSONResponse:
        """Answer a POST of an image's file; eta, alpha and name are in the query."""
        data = bytearray()
        async for chunk in http.stream():
            data += chunk
            if len(data) > BODY:
                return _error(Failure(f"the image has more than {BODY >> 20} MB; send a smaller one", 413))
        try:
            gate = {key: float(value) for key, value in http.query_params.items() if key in ("eta", "alpha")}
        except ValueError:
            return _error(Failure("eta and alpha are numbers between 0 and 1, such as ?eta=0.6", 400))
        result = await self.predict(bytes(data), http.query_params.get("name", "image"), **gate)
        return _error(result) if isinstance(result, Failure) else JSONResponse(result)


async def _call(replicas: Any, what: Any) -> Any:
    """Call one of a deployment's replicas, another one where it dies; a full queue is the caller's to know."""
    for _ in range(TRIES):
        try:
            return await replicas.run.remote(what)
        except BackPressureError:
            return Failure("too many images are waiting; send this one again later", 503)
        except RayActorError:
            continue
        except SacvitError as error:  # of the whole batch: an engine that fails
            return Failure(first_line(getattr(error, "cause", error)), 500)
    return Failure(f"{TRIES} replicas died while they had this image; send it again later", 503)


def _name(given: object) -> str:
    """Return a name that a request can carry; by the handle any object may come, and text that is no Unicode."""
    name = str(given)
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace").decode()
    return name


def _error(failure: Failure) -> JSONResponse:
    return JSONResponse({"error": failure.error}, status_code=failure.status)


def _plain(answer: Prediction | SacvitError) -> dict[str, Any] | Failure:
    """Return an answer without the class names, which every pickle of a Prediction would carry."""
    if isinstance(answer, SacvitError):
        return Failure(str(answer), 500 if isinstance(answer, OURS) else 400)
    return answer.to_dict()


def application(
    bundle: str | os.PathLike[str],
    *,
    stage_one: Mapping[str, Any] | None = None,
    stage_two: Mapping[str, Any] | None = None,
    router: Mapping[str, Any] | None = None,
    batch: int = 32,
    delay: float = 0.005,
    **how: Any,
) -> serve.Application:
    """Return the application for `serve.run`.

    stage_one, stage_two, router: options of each deployment: num_replicas, autoscaling_config, ray_actor_options,
    max_queued_requests, where Serve's own default is no limit and this one's QUEUED batches. batch, delay: see
    `Batching`. how: `SACViT`'s backend, device, precision, threads, of both. The bundle is opened by its path on each
    replica's machine.
    """
    if batch < 1 or delay < 0:
        raise UsageError(f"batch is {batch} and delay {delay}; batch must be at least 1, delay 0")
    folder, user_config = str(Path(bundle).absolute()), {"batch": batch, "delay": delay}
    queued = {"max_queued_requests": QUEUED * batch}
    each = {**queued, "user_config": user_config, "max_ongoing_requests": 4 * batch}  # so that batches get full
    called = {**queued, "max_ongoing_requests": 16 * batch, **(router or {})}
    one = serve.deployment(StageOneReplica).options(**{**each, **(stage_one or {})}).bind(folder, how)
    two = serve.deployment(StageTwoReplica).options(**{**each, **(stage_two or {})}).bind(folder, how)
    return serve.deployment(Router).options(**called).bind(one, two)


def build(arguments: Mapping[str, Any]) -> serve.Application:
    """Return the application for `serve run sacvit_deploy.ray.deployments:build bundle=model.sacvit threads=1`."""
    whole = {key: int(arguments[key]) for key in ("batch", "threads") if key in arguments}
    rest = {key: value for key, value in arguments.items() if key not in whole}
    if "delay" in rest:
        rest["delay"] = float(rest["delay"])
    return application(**{**rest, **whole})
