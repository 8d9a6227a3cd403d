"""Answers as JSON: `Prediction.to_dict`'s names, an error in its image's place."""

from __future__ import annotations

import base64
from typing import Any

from sacvit_deploy.errors import ImageError, RequestError, SacvitError, TooLargeError
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.serving.body import Options


def to_json(name: str, result: Prediction | SacvitError, options: Options) -> dict[str, Any]:
    """Return one image's answer, as `sacvit infer --json` prints it."""
    if isinstance(result, SacvitError):
        return {"source": name, "error": str(result)}
    return {**result.to_dict(options.topk), "eta": options.eta, "alpha": options.alpha}


def to_stage_two_json(source: str, result: Prediction | SacvitError) -> dict[str, Any]:
    """Return the answer to one request to stage 2: fp32 probabilities to the last bit, or the error and its kind."""
    if isinstance(result, SacvitError):
        return {"source": source, "error": str(result), "kind": type(result).__name__}
    exact = base64.b64encode(result.probabilities.astype("<f4").tobytes()).decode()
    return {**result.to_dict(1), "probabilities": exact}


def status_of(result: Prediction | SacvitError) -> int:
    """Return the HTTP status for the only image of a request."""
    if isinstance(result, TooLargeError):
        return 413
    if isinstance(result, (ImageError, RequestError)):
        return 400
    return 500 if isinstance(result, SacvitError) else 200
