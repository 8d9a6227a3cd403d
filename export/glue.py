"""The glue as two engines, so that on a GPU nothing but images, logits and indices crosses the bus.

They compute what `preprocess.low_view` and `glue.build_request` do, with casts, comparisons, sums and gathers alone:
every runtime has those, and no tensor's size depends on an image's content.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import Sizes
from sacvit_deploy.export.model import PREFERENCES
from sacvit_deploy.export.modules import EngineModule
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.images.preprocess import corner_weights, scale_and_shift


class ViewStage(EngineModule):
    """Preprocessing engine: pictures [B,S,S,3] uint8 -> image [B,3,S/2,S/2], the EE engine's input in its precision.

    whole: only normalise, giving [B,3,S,S], the input of a plain DeiT.
    """

    role = "view"
    scale: Tensor
    shift: Tensor
    low: Tensor
    share: Tensor

    def __init__(self, config: ModelConfig, dtype: torch.dtype, *, whole: bool = False) -> None:
        super().__init__(config, dtype)
        self.whole = whole
        scale, shift = (torch.tensor(array) for array in scale_and_shift(config.preprocessing))
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", shift[:, None, None])
        if config.method.downsample == "bilinear_corners":
            low, share = corner_weights(config.geometry.image_size)
            self.register_buffer("low", torch.tensor(low))
            self.register_buffer("share", torch.tensor(share))

    def forward(self, pictures: Tensor) -> Tensor:
        """Halve and normalise images [B,S,S,3] in fp32."""
        values = pictures.float()
        half = self.config.geometry.image_size // 2
        if self.whole:
            view = values
        elif self.config.method.downsample == "area":
            view = values.reshape(-1, half, 2, half, 2, 3).sum((2, 4)) * 0.25
        else:
            share = self.share[:, None, None]
            rows = _lines(values, 1, self.low) * (1 - share) + _lines(values, 1, self.low + 1) * share
            view = _lines(rows, 2, self.low) * (1 - share[:, 0]) + _lines(rows, 2, self.low + 1) * share[:, 0]
        return (view.permute(0, 3, 1, 2) * self.scale + self.shift).to(self.dtype)


class GatherStage(EngineModule):
    """Gather engine: inputs of the SAC engine for the continuing images of a batch.

    Inputs: pictures [B,S,S,3] uint8; rows [K], the images that continue; slots = 0..M-1 and rest = 0..N-M-1, whose
    lengths set the number of targets; the EE engine's scores [B,N] fp32, features [B,N,D] and, unless the method reuses
    features, embeddings [B,N,D].
    Outputs: patches [K,4M,3PP], positions [K,4M], target_features [K,M,D], background [K,N-M,D], targets [K,M].
    """

    role = "gather"
    sizes = Sizes(batch=3, targets=3, continuing=2)
    scale: Tensor
    shift: Tensor
    before: Tensor
    up_to: Tensor
    numbers: Tensor
    offsets: Tensor

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        super().__init__(config, dtype)
        tokens, area = config.geometry.tokens, config.geometry.patch_size**2
        scale, shift = scale_and_shift(config.preprocessing)
        self.register_buffer("scale", torch.tensor(np.repeat(scale, area)))
        self.register_buffer("shift", torch.tensor(np.repeat(shift, area)))
        # [N,N], 1 where column < row, and where row <= column.
        self.register_buffer("before", torch.ones(tokens, tokens).tril(-1))
        self.register_buffer("up_to", torch.ones(tokens, tokens).triu())
        self.register_buffer("numbers", torch.arange(1, tokens + 1).float())
        grid = config.geometry.grid
        self.register_buffer("offsets", torch.tensor([0, 1, 2 * grid, 2 * grid + 1]))

    def forward(
        self,
        pictures: Tensor,
        scores: Tensor,
        rows: Tensor,
        slots: Tensor,
        rest: Tensor,
        features: Tensor,
        embeddings: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Select targets by rank, then gather; counts are whole numbers, which fp32 holds exactly."""
        source = features if embeddings is None else embeddings
        tokens = self.config.geometry.tokens
        preference = PREFERENCES[self.config.method.selection](
            F.embedding(rows, scores), slots.shape[0], self.config.geometry.grid
        )
        row, column = preference[:, :, None], preference[:, None, :]
        # [K,N,N]: 1 where the column's token ranks before the row's, ties going to the lower index.
        precedes = torch.where(column > row, 1.0, torch.where(column == row, self.before, 0.0))
        chosen = (precedes.sum(2) <= slots[-1:].float()).float()
        counted = chosen @ self.up_to
        targets = _nth(counted, slots)
        background = _nth(self.numbers - counted, rest)
        first = tokens * torch.arange(rows.shape[0], device=rows.device)[:, None]
        return (
            self._patches(pictures, rows, first + targets),
            self._children(targets),
            _take(_lines(features, 0, rows), first + targets),
            _take(_lines(source, 0, rows), first + background),
            targets,
        )

    def _patches(self, pictures: Tensor, rows: Tensor, flat: Tensor) -> Tensor:
        """Take the targets' squares of four patches from the images and normalise them: [K,4M,3PP]."""
        grid, patch = self.config.geometry.grid, self.config.geometry.patch_size
        # Half precision holds 0..255 exactly, and TensorRT moves no uint8.
        values = _lines(pictures.half(), 0, rows)
        squares = values.reshape(-1, grid, 2, patch, grid, 2, patch, 3).permute(0, 1, 4, 2, 5, 7, 3, 6)
        taken = _take(squares.reshape(-1, grid * grid, CHILDREN * 3 * patch * patch), flat)
        patches = taken.reshape(rows.shape[0], -1, 3 * patch * patch).float() * self.scale + self.shift
        return patches.to(self.dtype)

    def _children(self, targets: Tensor) -> Tensor:
        """Return the hi-res positions [K,4M] of the children of targets [K,M] (paper eq. 11)."""
        grid = self.config.geometry.grid
        line = torch.div(targets, grid, rounding_mode="floor")
        first = 4 * targets - 2 * (targets - grid * line)
        return (first[:, :, None] + self.offsets).reshape(targets.shape[0], -1)

    def example(self) -> tuple[Tensor, ...]:
        """Make inputs to trace with, where two of three images continue."""
        pictures, scores, _, slots, rest, *others = super().example()
        return pictures, scores, torch.tensor([0, 2]), torch.arange(len(slots)), torch.arange(len(rest)), *others


def _nth(counted: Tensor, numbers: Tensor) -> Tensor:
    """Find where running counts [K,N] first exceed each of the numbers [M]; returns indices [K,M]."""
    return (counted[:, None, :] <= numbers.float()[None, :, None]).float().sum(2).long()


def _take(tokens: Tensor, flat: Tensor) -> Tensor:
    """Take rows of tokens [K,N,X] by indices [K,M] into all K x N of them; returns [K,M,X]."""
    return F.embedding(flat, tokens.reshape(-1, tokens.shape[2]))


def _lines(values: Tensor, axis: int, index: Tensor) -> Tensor:
    """Select along an axis; unlike indexing, this becomes ONNX's Gather, which every runtime does fast."""
    return values.index_select(axis, index)
