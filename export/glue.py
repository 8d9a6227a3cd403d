"""The glue as two engines, so that on a GPU nothing but images, logits and indices crosses the bus.

They compute what `preprocess.low_view` and `glue.build_request` do, with casts, comparisons, sums and gathers alone:
every runtime has those, and no tensor's size depends on an image's content. `index_select`, unlike indexing, becomes
ONNX's Gather, which is fast everywhere.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import Sizes
from sacvit_deploy.export.modules import EngineModule
from sacvit_deploy.export.policies import PREFERENCES
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.images.preprocess import corner_weights, scale_and_shift


class ViewStage(EngineModule):
    """Preprocessing engine: pictures [B,S,S,3] uint8 -> image [B,3,S/2,S/2], the EE engine's input in its precision.

    whole: only normalise, giving [B,3,S,S], the input of a plain DeiT.
    """

    role = "view"

    def __init__(self, config: ModelConfig, dtype: torch.dtype, *, whole: bool = False) -> None:
        super().__init__(config, dtype)
        self.whole = whole
        scale, shift = (torch.tensor(array) for array in scale_and_shift(config.preprocessing))
        self.scale, self.shift = nn.Buffer(scale[:, None, None]), nn.Buffer(shift[:, None, None])
        low, share = corner_weights(config.geometry.image_size)
        self.low, self.share = nn.Buffer(torch.tensor(low)), nn.Buffer(torch.tensor(share))

    def forward(self, pictures: Tensor) -> Tensor:
        """Halve and normalise images [B,S,S,3] in fp32."""
        values = pictures.float()
        half = self.config.geometry.image_size // 2
        if self.whole:
            view = values
        elif self.config.method.downsample == "area":
            view = values.reshape(-1, half, 2, half, 2, 3).sum((2, 4)) * 0.25
        else:
            share, low = self.share[:, None, None], self.low
            rows = values.index_select(1, low) * (1 - share) + values.index_select(1, low + 1) * share
            view = rows.index_select(2, low) * (1 - share[:, 0]) + rows.index_select(2, low + 1) * share[:, 0]
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

    def __init__(self, config: ModelConfig, dtype: torch.dtype) -> None:
        super().__init__(config, dtype)
        tokens, grid, area = config.geometry.tokens, config.geometry.grid, config.geometry.patch_size**2
        scale, shift = (torch.tensor(np.repeat(array, area)) for array in scale_and_shift(config.preprocessing))
        self.scale, self.shift = nn.Buffer(scale), nn.Buffer(shift)
        # [N,N], 1 where column < row, and where row <= column.
        self.before = nn.Buffer(torch.ones(tokens, tokens).tril(-1))
        self.up_to = nn.Buffer(torch.ones(tokens, tokens).triu())
        self.numbers = nn.Buffer(torch.arange(1, tokens + 1).float())
        self.offsets = nn.Buffer(torch.tensor([0, 1, 2 * grid, 2 * grid + 1]))

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
        geometry = self.config.geometry
        preferred = PREFERENCES[self.config.method.selection]
        preference = preferred(F.embedding(rows, scores), slots.shape[0], self.config)
        row, column = preference[:, :, None], preference[:, None, :]
        # [K,N,N]: 1 where the column's token ranks before the row's, ties going to the lower index.
        precedes = torch.where(column > row, 1.0, torch.where(column == row, self.before, 0.0))
        chosen = (precedes.sum(2) <= slots[-1:].float()).float()
        counted = chosen @ self.up_to
        targets = _nth(counted, slots)
        background = _nth(self.numbers - counted, rest)
        first = geometry.tokens * torch.arange(rows.shape[0], device=rows.device)[:, None]
        return (
            self._patches(pictures, rows, first + targets),
            self._children(targets),
            _take(features.index_select(0, rows), first + targets),
            _take(source.index_select(0, rows), first + background),
            targets,
        )

    def _patches(self, pictures: Tensor, rows: Tensor, flat: Tensor) -> Tensor:
        """Take the targets' squares of four patches from the images and normalise them: [K,4M,3PP]."""
        grid, patch = self.config.geometry.grid, self.config.geometry.patch_size
        # TensorRT moves no uint8; half precision, too, holds 0..255 exactly.
        values = pictures.to(self.dtype).index_select(0, rows)
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
