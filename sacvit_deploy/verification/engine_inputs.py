"""What one engine is given at run time: images taken through the cascade up to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.confidence import finite_rows, softmax
from sacvit_deploy.contract import BASELINE, engine_contract
from sacvit_deploy.errors import BundleError, ImageError, OutputError
from sacvit_deploy.glue import continuing
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.model import SACViT


def engine_inputs(
    model: SACViT, role: str, sources: Sequence[ImageSource], *, batch: int, eta: float, count: int
) -> Iterator[dict[str, Array]]:
    """Yield the inputs of the engine `role` for images, by the contract's names and in the engine file's own types.

    batch: images of a stage-1 call. `gather` and `sac` get those of them that continue at `eta`, with M = `count`
    targets; a batch of which none does is left out. Raises BundleError if the variant has no such engine, ImageError
    for the first image that can't be read, OutputError if none reaches the engine.
    """
    files = model.backend.files(model.bundle, model.precision)
    if role not in files:
        raise BundleError(f"{model.bundle.path} has no {role} engine in {model.precision}")
    engine = model.backend.open(files[role], files.get("weights"))
    names = engine_contract(role, model.config).inputs
    dtypes = {name: engine.input_dtype(name) for name in names}
    reached = False
    for start in range(0, len(sources), batch):
        items = [model.prepare(source) for source in sources[start : start + batch]]
        for item in items:
            if item.pixels is None:
                raise item.error or ImageError(f"{item.source} can't be read")
        images = np.stack([item.pixels for item in items if item.pixels is not None])
        inputs = _inputs(role, model.cascade, images, eta, count)
        if inputs:
            reached = True
            yield as_taken(inputs, dtypes, role)
    if not reached:
        reason = f"has finite answers and continues to {role} at eta {eta:g}"
        raise OutputError(f"no image of {len(sources)} {reason}; try --eta 1")


def _inputs(role: str, cascade: Cascade, images: Pixels, eta: float, count: int) -> dict[str, Array]:
    """Return one engine's inputs for B images [B,S,S,3]; nothing if it stands behind the gate and none continues."""
    if role == "view":
        return {"pictures": images}
    if role == BASELINE:
        return {"image": full_view(list(images), cascade.config.preprocessing)}
    low = cascade.low_view(images)
    if role == "ee":
        return {"image": low}
    ee = cascade.stage_one(low)
    sound = finite_rows(ee["logits"], ee["scores"])
    rows = np.nonzero(sound)[0]
    rows = rows[continuing(softmax(ee["logits"][rows]), eta)]
    if not rows.size:
        return {}
    if role == "sac":
        targets = cascade.targets(ee["scores"][rows], count)
        return cascade.request(images, ee, rows, targets).inputs(cascade.config)
    rest = np.arange(cascade.config.geometry.tokens - count)
    return {**ee, "pictures": images, "rows": rows, "slots": np.arange(count), "rest": rest}
