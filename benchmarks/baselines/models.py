"""Token-reduction baselines as exportable stages: SaiT, which prunes tokens, and STViT, which replaces them.

Both use the weights of a DeiT without training of their own: they show the cost of their methods, not accuracy.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.benchmarks.baselines.costs import SEMANTIC_TOKENS, sait_dense_blocks, stvit_image_blocks
from sacvit_deploy.export.blocks import Attention, Block, attend
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.modules import StageModule

EXAMPLE_TOKENS = 3  # kept tokens in the inputs to trace with


def embed(model: ReferenceSACViT, image: Tensor) -> Tensor:
    """Embed images [B,3,S,S] as a DeiT without registers: the class token, then the hi-res grid, [B,4N+1,D]."""
    table = model.high_positions()
    cls = model.leading(table, image.shape[0])[:, :1]
    return torch.cat([cls, model.enter(model.patch_embed(image) + table[:, 1:])], dim=1)


class ImageModule(StageModule):
    """Baseline with normalised images [B,3,S,S] as its first input."""

    inputs: tuple[str, ...] = ("image",)
    outputs: tuple[str, ...] = ("logits",)

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace with."""
        size = self.config.geometry.image_size
        return (torch.zeros(2, 3, size, size, dtype=self.dtype),)

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Return the dynamic axes."""
        return {"image": {0: torch.export.Dim("batch")}}


class SaiTHead(ImageModule):
    """Dense blocks of SaiT (arXiv 2210.05832): image [B,3,S,S] -> tokens [B,4N+1,D], scores [B,4N] fp32.

    A token's score is the class token's attention to it in the last dense block, mean over the heads; the scores of an
    image and the class token's attention to itself sum to 1.
    """

    outputs = ("tokens", "scores")

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the dense blocks."""
        x = embed(self.model, image)
        attention = x
        for block in self.model.layers()[: sait_dense_blocks(self.model.config.geometry.depth)]:
            x, attention = block(x)
        return x, attention[:, :, 0, 1:].float().mean(dim=1)


class SaiTTail(StageModule):
    """Sparse blocks of SaiT: kept tokens [B,K+1,D], the class token first -> logits [B,C]."""

    inputs = ("tokens",)
    outputs = ("logits",)

    def forward(self, tokens: Tensor) -> Tensor:
        """Run the sparse blocks."""
        for block in self.model.layers()[sait_dense_blocks(self.model.config.geometry.depth) :]:
            tokens = block(tokens)[0]
        logits: Tensor = self.model.head(self.model.norm(tokens[:, 0])).float()
        return logits

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace with; the residual stream is fp32 in every variant."""
        return (torch.zeros(2, EXAMPLE_TOKENS + 1, self.model.config.geometry.width),)

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Return the dynamic axes; the number of kept tokens is chosen at run time."""
        return {"tokens": {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}}


class SaiT(ImageModule):
    """Whole SaiT at a fixed count: image [B,3,S,S], slots [K] = 0..K-1 -> logits [B,C].

    Head, selection of the K best tokens and tail are one graph. K is the length of `slots`, so the kept ratio is chosen
    at run time with nothing but gathers.
    """

    inputs = ("image", "slots")

    def __init__(self, model: ReferenceSACViT) -> None:
        super().__init__(model)
        self.head, self.tail = SaiTHead(model), SaiTTail(model)

    def forward(self, image: Tensor, slots: Tensor) -> Tensor:
        """Run the dense blocks, keep the best tokens of each image, run the sparse blocks."""
        tokens, scores = self.head(image)
        batch, count, width = tokens.shape
        order = scores.topk(count - 1, dim=1).indices.index_select(1, slots) + 1
        # One flat gather of rows: the tokens' own gather would carry an index for each of their channels.
        rows = order + torch.arange(batch, device=order.device)[:, None] * count
        kept = F.embedding(rows, tokens.reshape(batch * count, width))
        out: Tensor = self.tail(torch.cat([tokens[:, :1], kept], dim=1))
        return out

    def example(self) -> tuple[Tensor, ...]:
        """Return inputs to trace with."""
        return (*super().example(), torch.arange(EXAMPLE_TOKENS))

    def dynamic(self) -> dict[str, dict[int, object]]:
        """Return the dynamic axes."""
        return {**super().dynamic(), "slots": {0: torch.export.Dim("kept")}}


class STViT(ImageModule):
    """STViT (arXiv 2303.08685): image [B,3,S,S] -> logits [B,C], over 16 semantic tokens from an early block on.

    The first third of the blocks sees all image tokens. Two blocks then generate semantic tokens. In the first, tokens
    pooled in space attend to the image tokens; in the second, with learned global centres added, to themselves and the
    image tokens. The other blocks see the semantic tokens alone, whose mean is classified; there is no class token.
    """

    windows: Tensor

    def __init__(self, model: ReferenceSACViT) -> None:
        super().__init__(model)
        geometry = model.config.geometry
        windows = pooling_windows(2 * geometry.grid, math.isqrt(SEMANTIC_TOKENS))
        self.register_buffer("windows", windows, persistent=False)
        generator = torch.Generator().manual_seed(2303)
        centres = torch.randn(1, SEMANTIC_TOKENS, geometry.width, generator=generator) * 0.02
        self.centres = nn.Parameter(centres)

    def forward(self, image: Tensor) -> Tensor:
        """Run all blocks and classify."""
        model = self.model
        first = stvit_image_blocks(model.config.geometry.depth)
        x = model.enter(model.patch_embed(image) + model.high_positions()[:, 1:])
        for block in model.layers()[:first]:
            x = block(x)[0]
        pooled = x[:, self.windows].amax(dim=2)
        semantic = generate(model.layers()[first], pooled, x)
        semantic = generate(model.layers()[first + 1], semantic + self.centres, torch.cat([semantic, x], dim=1))
        for block in model.layers()[first + 2 :]:
            semantic = block(semantic)[0]
        logits: Tensor = model.head(model.norm(semantic).mean(dim=1)).float()
        return logits


def generate(block: Block, queries: Tensor, source: Tensor) -> Tensor:
    """Run one generating block: `queries` [B,Q,D] attend to `source` [B,T,D]; then the block's MLP."""
    q, k, v = cross(block.attn, block.norm1(queries), block.norm1(source))
    x = queries + block.attn.merge(attend(q, k, v)[0])
    out: Tensor = x + block.mlp(block.norm2(x))
    return out


def cross(attention: Attention, queries: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project queries from one sequence, keys and values from another, with the weights of a block's self-attention."""
    weight, bias = attention.qkv.weight, attention.qkv.bias
    width = weight.shape[1]
    q = F.linear(queries.to(weight.dtype), weight[:width], bias[:width]) * (width // attention.heads) ** -0.5
    k, v = F.linear(source.to(weight.dtype), weight[width:]).chunk(2, dim=-1)  # no bias: see Attention

    def split(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], attention.heads, width // attention.heads).transpose(1, 2)

    return split(q), split(k), split(v)


def pooling_windows(side: int, cells: int) -> Tensor:
    """Return the windows of adaptive pooling as indices [cells^2, k] into a row-major side x side grid.

    Smaller windows repeat their last row and column to fill up k, which leaves a maximum unchanged.
    """
    edges = [(cell * side // cells, -(-(cell + 1) * side // cells)) for cell in range(cells)]
    longest = max(stop - start for start, stop in edges)
    lines = torch.tensor([[min(start + at, stop - 1) for at in range(longest)] for start, stop in edges])
    grid = lines[:, None, :, None] * side + lines[None, :, None, :]
    return grid.reshape(cells * cells, longest * longest)
