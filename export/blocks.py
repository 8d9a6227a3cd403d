"""Layers of a DeiT, with attention written out so that scores can be read from it and clusters kept apart.

Linear layers compute in the precision of their weights. The residual stream, LayerNorm and softmax between them stay in
the caller's precision, so halving the linear layers alone gives a mixed precision that does not overflow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.config import Geometry


class PatchEmbed(nn.Module):
    """Patch embedding of whole images or of gathered patches, as one matrix product.

    The weight keeps DeiT's convolution shape [D,3,P,P]; both stages apply it as [3PP,D], so that both engines share the
    same bytes.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, width, patch, patch)

    def tokens(self, patches: Tensor) -> Tensor:
        """Embed flattened patches [B,T,3PP] as tokens [B,T,D]."""
        return F.linear(patches.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)

    def forward(self, image: Tensor) -> Tensor:
        """Embed images [B,3,H,W] as tokens [B,(H/P)(W/P),D], row-major."""
        return self.tokens(patchify(image, self.patch))


def patchify(image: Tensor, patch: int) -> Tensor:
    """Cut images [B,3,H,W] into patches [B,(H/P)(W/P),3PP], row-major, channel-major within a patch."""
    batch, _, height, width = image.shape
    rows, columns = height // patch, width // patch
    x = image.reshape(batch, 3, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(batch, rows * columns, 3 * patch * patch)


class Attention(nn.Module):
    """Multi-head attention by explicit matmul, softmax, matmul; softmax in fp32.

    Two of the three biases need no pass over the tokens. The keys' bias adds the same number to all logits of a query,
    which softmax cancels. The values' bias passes through the weighted mean unchanged, as probabilities sum to 1, so
    `merge` folds it into the projection's bias and expects values without it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project tokens [B,T,D] to scaled queries, and keys and values without bias, each [B,H,T,D/H]."""
        batch, tokens, width = x.shape
        size = width // self.heads
        parts = F.linear(x.to(self.qkv.weight.dtype), self.qkv.weight)
        # One transpose for all three parts, then cuts between whole heads: each part is contiguous.
        q, k, v = parts.reshape(batch, tokens, 3 * self.heads, size).transpose(1, 2).chunk(3, dim=1)
        bias = self.qkv.bias[:width].reshape(1, self.heads, 1, size)
        return (q + bias) * size**-0.5, k, v

    def merge(self, x: Tensor) -> Tensor:
        """Join the heads' values [B,H,T,D/H] and project them to tokens [B,T,D]."""
        values = self.qkv.bias[2 * self.proj.in_features :]
        bias = self.proj.bias.float() + self.proj.weight.float() @ values.float()
        return F.linear(x.transpose(1, 2).flatten(2), self.proj.weight, bias.to(self.proj.weight.dtype))


def attend(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Attend from Q queries to K keys; returns values [B,H,Q,D/H] and probabilities [B,H,Q,K] in fp32."""
    probabilities = (q @ k.transpose(-2, -1)).float().softmax(dim=-1)
    return probabilities.to(v.dtype) @ v, probabilities


def attend_clusters(q: Tensor, k: Tensor, v: Tensor, at: int, shared: int, union: bool) -> Tensor:
    """Attend within the targets and within the background, with the tokens between them in both clusters.

    Targets are [0, at), the background [at + shared, T). The two updates of the class token and of registers between
    are averaged, or with `union` their queries see all tokens; the paper leaves this open.
    q, k, v: [B,H,T,D/H]; returns values of that shape.
    """
    end = at + shared
    target, _ = attend(q[:, :, :end], k[:, :, :end], v[:, :, :end])
    background, _ = attend(q[:, :, at:], k[:, :, at:], v[:, :, at:])
    if union:
        both, _ = attend(q[:, :, at:end], k, v)
    else:
        # Halved before the sum, which could overflow in half precision where the mean does not.
        both = target[:, :, at:end] * 0.5 + background[:, :, :shared] * 0.5
    return torch.cat([target[:, :, :at], both, background[:, :, shared:]], dim=2)


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        """Map features [..., D] to [..., out]."""
        return self.fc2(F.gelu(self.fc1(x.to(self.fc1.weight.dtype))))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width, eps = geometry.width, geometry.norm_eps
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, geometry.heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, geometry.hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the block with attention over all tokens; returns tokens [B,T,D] and probabilities [B,H,T,T]."""
        values, probabilities = attend(*self.attn.split(self.norm1(x)))
        x = x + self.attn.merge(values)
        return x + self.mlp(self.norm2(x)), probabilities

    def clustered(self, x: Tensor, at: int, shared: int, union: bool) -> Tensor:
        """Run the block with attention inside each cluster, tokens [B,T,D]; those of [at, at + shared) are in both."""
        x = x + self.attn.merge(attend_clusters(*self.attn.split(self.norm1(x)), at, shared, union))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
