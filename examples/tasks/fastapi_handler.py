"""One image for each request: BUNDLE=model.sacvit uvicorn fastapi_handler:app; needs fastapi and uvicorn.

`sacvit serve` is a whole server: batches of many callers' images, limits, metrics.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from sacvit_deploy import ImageError, SACViT


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with SACViT(os.environ["BUNDLE"]) as app.state.model:  # opened once, in each worker process
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Classify the image in the request's body."""
    try:
        # In a thread, so that others are served meanwhile.
        answer = await request.app.state.model.apredict(await request.body())
    except ImageError as error:
        raise HTTPException(400, str(error)) from error
    return answer.to_dict()
