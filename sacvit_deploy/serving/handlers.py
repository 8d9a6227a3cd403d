"""What the server's paths do: each takes a request and gives a response, or raises Refusal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from sacvit_deploy.errors import SacvitError
from sacvit_deploy.request import VERSION, split_requests
from sacvit_deploy.serving.admission import Admission, Ticket
from sacvit_deploy.serving.answers import json_response, status_of, to_json, to_stage_two_json
from sacvit_deploy.serving.body import LONGEST_NAME, Options, is_form, read_body, read_form, read_options
from sacvit_deploy.serving.kserve import infer_response, model_metadata, read_infer, server_metadata
from sacvit_deploy.serving.metrics import CONTENT_TYPE, Metrics
from sacvit_deploy.serving.pipeline import Pipeline, Result, StageTwoResult
from sacvit_deploy.serving.refusal import Refusal
from sacvit_deploy.serving.settings import Settings
from sacvit_deploy.serving.urls import allowed

R = TypeVar("R", Result, StageTwoResult)
T = TypeVar("T")


class Handlers:
    """The server's paths over one pipeline."""

    def __init__(self, pipeline: Pipeline, admission: Admission, metrics: Metrics, settings: Settings) -> None:
        self._pipeline, self._admission, self._metrics, self._settings = pipeline, admission, metrics, settings

    async def predict(self, request: Request) -> Response:
        """Classify one image (the body is the file) or several (a form with files)."""
        with self._timed("predict"), self._admission.request() as ticket:
            options = self._options(dict(request.query_params))
            if url := request.query_params.get("url"):
                return await self._predict_url(url, request, ticket)
            body = await read_body(request, ticket, self._settings)
            if not is_form(request):
                name = request.query_params.get("source", "<body>")[:LONGEST_NAME]
                (result,) = await self._finish(
                    request, [self._pipeline.classify(name, body, options.eta, options.count)]
                )
                return json_response(to_json(name, result, options), status_of(result))
            header = request.headers.get("content-type", "")
            read = self._pipeline.in_thread(lambda: read_form(header, body, self._settings.max_images))
            files: list[tuple[str, bytes]] = await asyncio.wrap_future(read)
            ticket.has_images(len(files))
            futures = [self._pipeline.classify(name, data, options.eta, options.count) for name, data in files]
            results = await self._finish(request, futures)
            answers = [to_json(name, result, options) for (name, _), result in zip(files, results, strict=True)]
            return json_response({"results": answers})

    async def _predict_url(self, url: str, request: Request, ticket: Ticket) -> Response:
        options = self._options(dict(request.query_params))
        if not allowed(url, self._settings.url_prefixes):
            raise Refusal(403, "this server fetches no images from there; send the file, or start it with --allow-url")
        most = min(self._settings.max_body, self._settings.max_held)
        ticket.add_bytes(most)  # nobody knows how much will come
        (data,) = await self._wait(request, [self._pipeline.fetch(url, most)])
        result: Result
        if isinstance(data, SacvitError):
            result = data
            self._pipeline.count(data)
        else:
            ticket.give_back(most - len(data))
            (result,) = await self._finish(request, [self._pipeline.classify(url, data, options.eta, options.count)])
        return json_response(to_json(url, result, options), status_of(result))

    async def stage_two(self, request: Request) -> Response:
        """Answer requests to stage 2 that stand one behind the other, as docs/wire-format.md says."""
        with self._timed("stage2"), self._admission.request() as ticket:
            body = await read_body(request, ticket, self._settings)
            requests = await asyncio.wrap_future(self._pipeline.in_thread(lambda: split_requests(body)))
            ticket.has_images(len(requests))
            names, futures = [], []
            for one in requests:
                names.append("" if isinstance(one, SacvitError) else one.source)
                future: Future[StageTwoResult]
                try:
                    future = self._pipeline.answer(self._pipeline.two.check(one))
                except SacvitError as error:
                    future = Future()
                    future.set_result(error)
                futures.append(future)
            results = await self._finish(request, futures)
            bundle = self._pipeline.two.bundle
            pairs = enumerate(zip(names, results, strict=True))
            answers = [to_stage_two_json(at, name, result, bundle) for at, (name, result) in pairs]
            return json_response({"variant": self._pipeline.two.variant, "results": answers})

    async def stage_two_facts(self, request: Request) -> Response:
        """Say which requests stage 2 answers."""
        return json_response({"variant": self._pipeline.two.variant, "format": VERSION})

    async def infer(self, request: Request) -> Response:
        """KServe v2: infer."""
        self._check_name(request)
        with self._timed("infer"), self._admission.request() as ticket:
            body = await read_body(request, ticket, self._settings)
            header = request.headers.get("inference-header-content-length")
            read = self._pipeline.in_thread(lambda: read_infer(body, header, self._settings.max_images))
            asked = await asyncio.wrap_future(read)
            options = self._options(asked.parameters)
            ticket.has_images(len(asked.sources))
            futures = [
                self._pipeline.classify(f"<image {at}>", source, options.eta, options.count)
                for at, source in enumerate(asked.sources)
            ]
            results = await self._finish(request, futures)
            return json_response(infer_response(self._settings.name, asked, results))

    async def server(self, request: Request) -> Response:
        """KServe v2: the server's metadata."""
        return json_response(server_metadata())

    async def model(self, request: Request) -> Response:
        """KServe v2: the model's metadata."""
        self._check_name(request)
        return json_response(model_metadata(self._settings.name))

    async def live(self, request: Request) -> Response:
        """KServe v2: the process answers."""
        return json_response({"live": True})

    async def ready(self, request: Request) -> Response:
        """KServe v2: both engines are open, and the server is not stopping."""
        if self._admission.stopping:
            raise Refusal(503, "the server is stopping")
        return json_response({"ready": True})

    async def model_ready(self, request: Request) -> Response:
        """KServe v2: the same for the model."""
        self._check_name(request)
        return await self.ready(request)

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format."""
        return Response(self._metrics.to_text(), media_type=CONTENT_TYPE)

    def refused(self, status: int) -> None:
        """Count a refusal."""
        self._metrics.refused.labels(str(status)).inc()

    def _check_name(self, request: Request) -> None:
        if (name := request.path_params["name"]) != self._settings.name:
            raise Refusal(404, f"there is no model {name[:80]!r}; this server has {self._settings.name!r}")

    def _options(self, given: dict[str, Any]) -> Options:
        return read_options(given, self._pipeline.one.config, self._pipeline.one.eta)

    async def _finish(self, request: Request, futures: Sequence[Future[R]]) -> list[R | SacvitError]:
        """Wait for answers, and count them."""
        results = await self._wait(request, futures)
        for result in results:
            self._pipeline.count(result)
        return results

    async def _wait(self, request: Request, futures: Sequence[Future[T]]) -> list[T | SacvitError]:
        """Wait for results; an error is each one's own. Raises Refusal where the client leaves before.

        What has not begun is then cancelled; what runs is waited for, as what it holds is still the request's.
        """
        waiting = [asyncio.wrap_future(future) for future in futures]
        ended = asyncio.gather(*waiting, return_exceptions=True)
        gone = asyncio.ensure_future(_gone(request))
        either: list[asyncio.Future[Any]] = [ended, gone]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                for future in futures:
                    future.cancel()
                await ended
                raise Refusal(499, "the connection was closed before there was an answer")
        finally:  # cancelled itself, too, where the time to stop is over
            gone.cancel()
            for one, future in zip(waiting, futures, strict=True):
                one.cancel()
                future.cancel()
        results: list[T | SacvitError] = []
        for result in ended.result():
            if isinstance(result, BaseException) and not isinstance(result, SacvitError):
                raise result
            results.append(result)
        return results

    @contextmanager
    def _timed(self, path: str) -> Any:
        start = time.monotonic()
        try:
            yield
        finally:
            self._metrics.request_seconds.labels(path).observe(time.monotonic() - start)


async def _gone(request: Request) -> None:
    """Wait until the client has left; of a request whose body was read there is nothing else to come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
