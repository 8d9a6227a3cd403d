"""Reference SAC-ViT in torch (arXiv 2503.00060), written to be read and trained, not to be fast.

State-dict names follow DeiT/timm (`patch_embed.proj`, `blocks.0.attn.qkv`, ...), plus CF-ViT's `pos_embed_list` and
`reuse_block`, so the weights of all three load unchanged.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.export.blocks import Block, Mlp, PatchEmbed, patchify
from sacvit_deploy.export.policies import choose_targets
from sacvit_deploy.geometry import CHILDREN


class StageOneOutputs(NamedTuple):
    """Outputs of stage 1: logits [B,C], scores [B,N], features [B,N,D], embeddings [B,N,D]."""

    logits: Tensor
    scores: Tensor
    features: Tensor
    embeddings: Tensor


class ReferenceOutputs(NamedTuple):
    """Outputs of both stages: those of stage 1, the selected low-res tokens [B,M], and stage 2's logits [B,C]."""

    ee: StageOneOutputs
    targets: Tensor
    logits: Tensor


class ReferenceSACViT(nn.Module):
    """Both stages over one set of weights, for normalised images [B,3,S,S]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        geometry, method = config.geometry, config.method
        width, n = geometry.width, geometry.tokens
        self.patch_embed = PatchEmbed(geometry.patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if method.positions == "shared":
            self.pos_embed = nn.Parameter(torch.zeros(1, CHILDREN * n + 1, width))
        else:
            sizes = (n + 1, CHILDREN * n + 1)
            self.pos_embed_list = nn.ParameterList([nn.Parameter(torch.zeros(1, s, width)) for s in sizes])
        if geometry.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, geometry.registers, width))
        if geometry.pre_norm:
            self.norm_pre = nn.LayerNorm(width, eps=geometry.norm_eps)
        self.blocks = nn.ModuleList([Block(geometry) for _ in range(geometry.depth)])
        self.norm = nn.LayerNorm(width, eps=geometry.norm_eps)
        self.head = nn.Linear(width, geometry.classes)
        if method.fusion != "none":
            out = width if method.fusion == "repeat" else CHILDREN * width
            self.reuse_block = nn.Sequential(nn.LayerNorm(width, eps=geometry.norm_eps), Mlp(width, 4 * width, out))
        self.apply(_init_weights)
        for table in [self.cls_token, *self.position_tables(), *([self.reg_token] if geometry.registers else [])]:
            nn.init.trunc_normal_(table, std=0.02)

    def position_tables(self) -> list[nn.Parameter]:
        """Return the learned position tables: [hi-res], or [low-res, hi-res]."""
        return [self.pos_embed] if self.config.method.positions == "shared" else list(self.pos_embed_list)

    def layers(self) -> list[Block]:
        """Return the blocks with their type, which `nn.ModuleList` loses."""
        return cast("list[Block]", list(self.blocks))

    def high_positions(self) -> Tensor:
        """Return hi-res positions [1,4N+1,D]: the class token's, then those of the 2g x 2g grid."""
        return self.position_tables()[-1]

    def low_positions(self) -> Tensor:
        """Return low-res positions [1,N+1,D]: the class token's, then those of the g x g grid."""
        if self.config.method.positions == "separate":
            return self.position_tables()[0]
        g = self.config.geometry.grid
        grid = self.pos_embed[:, 1:].reshape(1, 2 * g, 2 * g, -1).permute(0, 3, 1, 2)
        # Not antialiased: DeiT's own recipe for another resolution, and at a factor of two it already averages 4x4.
        grid = F.interpolate(grid.float(), size=(g, g), mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2).to(self.pos_embed.dtype)], dim=1)

    def enter(self, tokens: Tensor) -> Tensor:
        """Make tokens [B,T,D] ready for the first block: each is normalised, in a model with `pre_norm`."""
        return self.norm_pre(tokens) if self.config.geometry.pre_norm else tokens

    def leading(self, positions: Tensor, batch: int) -> Tensor:
        """Return the class token and the registers [B,1+R,D]; positions [1,T,D] begin with the class token's."""
        token = self.cls_token + positions[:, :1]
        if self.config.geometry.registers:
            token = torch.cat([token, self.reg_token], dim=1)
        return self.enter(token).expand(batch, -1, -1)

    def downsample(self, image: Tensor) -> Tensor:
        """Halve images [B,3,S,S] for stage 1, to [B,3,S/2,S/2]."""
        if self.config.method.downsample == "area":
            return F.avg_pool2d(image, 2)
        half = self.config.geometry.image_size // 2
        return F.interpolate(image, size=(half, half), mode="bilinear", align_corners=True)

    def stage_one(self, low: Tensor) -> StageOneOutputs:
        """Classify half-size images [B,3,S/2,S/2] and score their tokens."""
        config = self.config
        positions = self.low_positions()
        embeddings = self.enter(self.patch_embed(low) + positions[:, 1:])
        x = torch.cat([self.leading(positions, low.shape[0]), embeddings], dim=1)
        first = 1 + config.geometry.registers
        weights = score_weights(config)
        scores: Tensor | None = None
        for weight, block in zip(weights, self.layers(), strict=True):
            x, attention = block(x)
            if weight:
                # Class row, mean over heads, in fp32: [B,N].
                row = attention[:, :, 0, first:].float().mean(dim=1) * weight
                scores = row if scores is None else scores + row
        assert scores is not None
        x = self.norm(x)
        return StageOneOutputs(self.head(x[:, 0]).float(), scores, x[:, first:], embeddings)

    def fuse(self, tokens: Tensor, target_features: Tensor) -> Tensor:
        """Add each parent's stage-1 feature [B,M,D] to its four children [B,4M,D]."""
        if self.config.method.fusion == "none":
            return tokens
        parents: Tensor = self.reuse_block(target_features.to(self.norm.weight.dtype))
        batch, count, width = target_features.shape
        # [B,M,4 or 1,D]: `expand` splits the MLP's 4D channels among the children, `repeat` gives all the same.
        share = CHILDREN if self.config.method.fusion == "expand" else 1
        fused = tokens.reshape(batch, count, CHILDREN, width) + parents.reshape(batch, count, share, width)
        return fused.reshape(batch, CHILDREN * count, width)

    def stage_two(
        self, patches: Tensor, positions: Tensor, target_features: Tensor, background: Tensor, *, clusters: bool = True
    ) -> Tensor:
        """Classify from hi-res target tokens and reused background tokens; returns logits [B,C] fp32.

        patches [B,4M,3PP] normalised pixels, channel-major; positions [B,4M] into the 2g x 2g grid;
        target_features [B,M,D]; background [B,N-M,D]. clusters: False lets all tokens see each other, as in the first
        epochs of training.
        """
        table = self.high_positions()
        tokens = self.enter(self.patch_embed.tokens(patches) + F.embedding(positions, table[0, 1:]))
        tokens = self.fuse(tokens, target_features)
        # What both clusters see stands between them, so that each cluster with it is one contiguous range.
        x = torch.cat([tokens, self.leading(table, patches.shape[0]), background.to(tokens.dtype)], dim=1)
        at = patches.shape[1]
        method = self.config.method
        for block in self.layers():
            if clusters and method.attention == "clustered":
                x = block.clustered(x, at, 1 + self.config.geometry.registers, union=method.class_token == "union")
            else:
                x = block(x)[0]
        logits: Tensor = self.head(self.norm(x[:, at])).float()
        return logits

    def forward(self, image: Tensor, alpha: float | None = None) -> ReferenceOutputs:
        """Run both stages on all images [B,3,S,S], without early exit; `alpha` is the model's unless given."""
        ee = self.stage_one(self.downsample(image))
        targets = choose_targets(ee.scores, self.config.num_targets(alpha), self.config)
        return ReferenceOutputs(ee, targets, self.stage_two_from(image, ee, targets))

    def stage_two_from(self, image: Tensor, ee: StageOneOutputs, targets: Tensor, *, clusters: bool = True) -> Tensor:
        """Run stage 2 for targets [B,M] of images [B,3,S,S], with stage 1's outputs; returns logits [B,C]."""
        children = child_positions(targets, self.config.geometry.grid)
        patches = gather(patchify(image, self.config.geometry.patch_size), children)
        source = ee.embeddings if self.config.method.background == "embeddings" else ee.features
        background = gather(source, background_tokens(targets, self.config.geometry.tokens))
        return self.stage_two(patches, children, gather(ee.features, targets), background, clusters=clusters)


def score_weights(config: ModelConfig) -> list[float]:
    """Return the weight of each block's class attention in the scores.

    The paper's moving average s <- beta s + (1 - beta) a, started at zero, unrolls to (1 - beta) beta^(last - block).
    The weights are scaled to sum to 1, which keeps the order of scores and makes them a weighted mean of attention
    rows; 1 - beta = 0.01 would push half-precision values into subnormals.
    """
    depth, first, beta = config.geometry.depth, config.score_first_block, config.method.score_beta
    # With beta = 0, Python's 0 ** 0 = 1 leaves the last block alone.
    raw = [beta ** (depth - 1 - block) if block >= first else 0.0 for block in range(depth)]
    return [value / sum(raw) for value in raw]


def background_tokens(targets: Tensor, tokens: int) -> Tensor:
    """Return the low-res tokens [B,N-M] that are not among targets [B,M], ascending."""
    batch, count = targets.shape
    kept = torch.ones(batch, tokens, dtype=torch.bool, device=targets.device).scatter(1, targets, False)
    return kept.nonzero()[:, 1].reshape(batch, tokens - count)


def child_positions(parents: Tensor, grid: int) -> Tensor:
    """Return the hi-res positions [B,4M] of the children of low-res tokens [B,M], parent-major (paper eq. 11)."""
    first = 4 * parents - 2 * (parents % grid)
    offsets = torch.tensor([0, 1, 2 * grid, 2 * grid + 1], device=parents.device)
    return (first[..., None] + offsets).flatten(1)


def gather(tokens: Tensor, index: Tensor) -> Tensor:
    """Take tokens [B,K,D] of each image from [B,T,D] by indices [B,K]."""
    return torch.take_along_dim(tokens, index[..., None], dim=1)


def _init_weights(module: nn.Module) -> None:
    """Initialise a linear layer as DeiT does."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
