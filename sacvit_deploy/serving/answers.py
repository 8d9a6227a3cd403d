"""Answers as JSON: `Prediction.to_dict`'s names, an error in its image's place."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.errors import ImageError, RequestError, SacvitError, TooLargeError
from sacvit_deploy.item import Answer
from sacvit_deploy.opened import to_prediction
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.serving.body import Options


def json_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response of JSON in ASCII, as names of files may hold what is no Unicode and UTF-8 can't write."""
    return Response(json.dumps(data, allow_nan=False), status, headers, "application/json")


def to_json(name: str, result: Prediction | SacvitError, options: Options) -> dict[str, Any]:
    """Return one image's answer, as `sacvit infer --json` prints it."""
    if isinstance(result, SacvitError):
        return {"source": name, "error": str(result)}
    return {**result.to_dict(options.topk), "eta": options.eta, "alpha": options.alpha}


def to_stage_two_json(at: int, name: str, result: Answer | SacvitError, bundle: Bundle) -> dict[str, Any]:
    """Return the answer to one request to stage 2, with its logits to the last bit, or the error and its kind.

    at: its place among the others.
    """
    finished = result if isinstance(result, SacvitError) else to_prediction(result, bundle, at)
    if isinstance(result, SacvitError) or isinstance(finished, SacvitError):
        return {"source": name, "error": str(finished), "kind": type(finished).__name__}
    assert result.logits is not None
    return {**finished.to_dict(1), "logits": base64.b64encode(result.logits.astype("<f4").tobytes()).decode()}


def status_of(result: Prediction | SacvitError) -> int:
    """Return the HTTP status for the only image of a request."""
    if isinstance(result, TooLargeError):
        return 413
    if isinstance(result, (ImageError, RequestError)):
        return 400
    return 500 if isinstance(result, SacvitError) else 200
