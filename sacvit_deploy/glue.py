"""The steps between the two engine calls: gate, gather patches, build the request to stage 2 for chosen targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import CHILDREN, child_positions
from sacvit_deploy.images.preprocess import scale_and_shift


def check_eta(eta: float) -> float:
    """Return eta as a float. Raises UsageError unless it lies in [0, 1]."""
    if not isinstance(eta, Real):
        raise UsageError(f"eta is {eta!r:.80}; it must be a number between 0 and 1")
    if not 0.0 <= eta <= 1.0:  # NaN, too, fails this
        raise UsageError(f"eta is {eta}; it must lie between 0 and 1")
    return float(eta)


def continuing(probabilities: Array, eta: float | Array) -> npt.NDArray[np.bool_]:
    """Return [B], True where an image continues to stage 2: where its highest probability [B,C] is not above eta.

    With eta = 1 every image continues, even where the softmax saturates to 1; with eta = 0 every image exits. eta: one
    for all, or [B].
    """
    return np.asarray(~(probabilities.max(axis=-1) > eta))


def background_tokens(targets: Index, tokens: int) -> Index:
    """Return the low-res tokens [B,N-M] that are not among the targets [B,M], ascending."""
    kept = np.ones((targets.shape[0], tokens), dtype=bool)
    np.put_along_axis(kept, targets, False, axis=1)
    return np.nonzero(kept)[1].reshape(targets.shape[0], tokens - targets.shape[1])


def gather_patches(images: Sequence[Pixels] | Pixels, targets: Index, patch: int) -> Pixels:
    """Cut the hi-res patches [B,4M,3PP] uint8 of targets [B,M] out of B images [S,S,3] uint8, parent-major.

    A target's four children are one 2P x 2P square, so each target is read in one piece.
    """
    batch, count = targets.shape
    out = np.empty((batch, count, 2, 2, 3, patch, patch), np.uint8)
    for image, patches, row in zip(images, out, targets, strict=True):
        grid = len(image) // (2 * patch)
        squares = image.reshape(grid, 2 * patch, grid, 2 * patch, 3)[row // grid, :, row % grid]
        patches[:] = squares.reshape(count, 2, patch, 2, patch, 3).transpose(0, 1, 3, 5, 2, 4)
    return out.reshape(batch, CHILDREN * count, 3 * patch * patch)


class StageTwoInputs(NamedTuple):
    """Inputs of stage 2 for B images, as plain arrays.

    patches [B,4M,3PP] uint8; positions [B,4M] int64; target_features [B,M,D] and background [B,N-M,D] in the variant's
    precision; targets [B,M] low-res indices, for the prediction.
    """

    patches: Pixels
    positions: Index
    target_features: Array
    background: Array
    targets: Index

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.targets)

    def part(self, start: int, stop: int) -> StageTwoInputs:
        """Return the inputs of the images `start` to `stop` - 1."""
        return StageTwoInputs._make(field[start:stop] for field in self)

    def inputs(self, config: ModelConfig) -> dict[str, Array]:
        """Return the SAC engine's inputs, the patches normalised."""
        scale, shift = scale_and_shift(config.preprocessing)
        area = config.geometry.patch_size**2
        patches = self.patches * np.repeat(scale, area)
        patches += np.repeat(shift, area)
        inputs = {**self._asdict(), "patches": patches}
        del inputs["targets"]
        return inputs


def build_request(
    images: Sequence[Pixels] | Mapping[int, Pixels] | Pixels,
    stage_one: Mapping[str, Array],
    rows: Index,
    targets: Index,
    config: ModelConfig,
) -> StageTwoInputs:
    """Gather the stage-2 inputs of the continuing images `rows` [K] of a batch for their targets [K,M]."""
    geometry = config.geometry
    features = stage_one["features"]
    source = stage_one["embeddings"] if config.method.background == "embeddings" else features
    batch = rows[:, None]
    return StageTwoInputs(
        patches=gather_patches([images[int(row)] for row in rows], targets, geometry.patch_size),
        positions=child_positions(targets, geometry.grid),
        target_features=features[batch, targets],
        background=source[batch, background_tokens(targets, geometry.tokens)],
        targets=targets,
    )


def join(requests: Sequence[StageTwoInputs]) -> StageTwoInputs:
    """Concatenate inputs with the same M into one batch."""
    if len(requests) == 1:
        return requests[0]
    return StageTwoInputs._make(map(np.concatenate, zip(*requests, strict=True)))
