"""The application: paths, their descriptions for OpenAPI, and errors as JSON."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sacvit_deploy import __version__
from sacvit_deploy.errors import RequestError, SacvitError
from sacvit_deploy.serving.admission import Admission
from sacvit_deploy.serving.answers import json_response
from sacvit_deploy.serving.handlers import Handlers
from sacvit_deploy.serving.metrics import Metrics
from sacvit_deploy.serving.page import openapi_page
from sacvit_deploy.serving.pipeline import Pipeline
from sacvit_deploy.serving.refusal import Refusal
from sacvit_deploy.serving.settings import Settings
from sacvit_deploy.stage_one import StageOne
from sacvit_deploy.stage_two import StageTwo

BINARY = {"schema": {"type": "string", "format": "binary"}}


def _query(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}, "description": description}


PREDICT = {
    "parameters": [
        _query("eta", "number", "Exit after stage 1 above this probability, 0 to 1; the bundle's unless given."),
        _query("alpha", "number", "Share of tokens that stage 2 sees in full; the bundle's unless given."),
        _query("topk", "integer", "Classes in an answer, 1 unless given."),
        _query("source", "string", "Name of the image in its answer, where the body is the file."),
        _query("url", "string", "Address to fetch the image from; refused unless the server was started with it."),
    ],
    "requestBody": {
        "content": {
            "image/*": BINARY,
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "array", "items": BINARY["schema"]}}}
            },
        }
    },
}
STAGE_TWO = {"requestBody": {"content": {"application/octet-stream": BINARY}}}
INFER = {"requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}}}


class Service:
    """One bundle's server: the application, and what it runs on."""

    def __init__(self, one: StageOne, two: StageTwo, settings: Settings) -> None:
        self.admission = Admission(settings)
        self.metrics = Metrics(lambda: self.admission.images)
        self.pipeline = Pipeline(one, two, settings, self.metrics)
        self._handlers = Handlers(self.pipeline, self.admission, self.metrics, settings)
        # The pages that FastAPI offers load scripts from another host; an edge box may reach none.
        self.app = FastAPI(title="sacvit serve", version=__version__, docs_url=None, redoc_url=None)
        self._add_paths()

    def close(self) -> None:
        """Answer what is in work, and end the threads."""
        self.pipeline.close()

    def _add_paths(self) -> None:
        app, do = self.app, self._handlers
        model = "/v2/models/{name}"
        paths: list[tuple[str, str, Any, dict[str, Any]]] = [
            ("POST", "/predict", do.predict, PREDICT),
            ("POST", "/stage2", do.stage_two, STAGE_TWO),
            ("GET", "/stage2", do.stage_two_facts, {}),
            ("GET", "/metrics", do.metrics, {}),
            ("GET", "/v2", do.server, {}),
            ("GET", "/v2/health/live", do.live, {}),
            ("GET", "/v2/health/ready", do.ready, {}),
            ("GET", model, do.model, {}),
            ("GET", f"{model}/ready", do.model_ready, {}),
            ("POST", f"{model}/infer", do.infer, INFER),
        ]
        for method, path, handler, extra in paths:
            # Handlers read the request themselves, so that limits come before its body.
            app.add_api_route(path, handler, methods=[method], response_model=None, openapi_extra=extra or None)
        app.add_api_route("/docs", self._page, methods=["GET"], include_in_schema=False, response_model=None)
        app.add_api_route("/", self._page, methods=["GET"], include_in_schema=False, response_model=None)
        app.add_exception_handler(Refusal, self._refuse)
        app.add_exception_handler(SacvitError, self._fail)
        app.add_exception_handler(HTTPException, self._fail)
        app.add_exception_handler(Exception, self._fail)

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(openapi_page(self.app.openapi()))

    async def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        self._handlers.refused(error.status)
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return json_response({"error": str(error)}, error.status, headers)

    async def _fail(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):  # an unknown path or method
            message = f"{request.method} {request.url.path[:80]}: {error.detail}; GET /docs lists what there is"
            return json_response({"error": message}, error.status_code, error.headers)
        if isinstance(error, RequestError):
            self._handlers.refused(400)
            return json_response({"error": str(error)}, 400)
        logging.getLogger("sacvit").error("%s failed: %r", request.url.path, error)
        message = str(error) if isinstance(error, SacvitError) else "the server failed; its log has the reason"
        return json_response({"error": message}, 500)
