"""The engines laid out for a GPU: few large nodes, ONNX Runtime's fused operators, over the weights of the plain ones.

At small batches a GPU waits for its kernels to be launched, so what counts is how few there are. The residual stream
has the precision of the linear layers here, so that adding to it and normalising it is one kernel. What the engines
take and give is the engine contract's, as for the plain ones; they are traced, torch can't run them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sacvit_deploy.contract import BASELINE, engine_contract
from sacvit_deploy.export.blocks import Attention, Mlp, patchify
from sacvit_deploy.export.clusters import Places
from sacvit_deploy.export.fused import add_and_normalise, attention, bias_gelu, multi_head_attention, multiply
from sacvit_deploy.export.model import ReferenceSACViT, score_weights
from sacvit_deploy.export.modules import StageModule
from sacvit_deploy.geometry import CHILDREN

# Attends for a block, by its number: normalised tokens [B,T,D] to values [B,T,D] before the projection.
Attend = Callable[[int, Attention, Tensor], Tensor]


class GpuModule(StageModule):
    """The parts that the engines share."""

    def weights(self) -> dict[str, Tensor]:
        return {name: value.to(self.dtype) for name, value in super().weights().items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Output names, in order, those that other layouts don't have behind the others."""
        contract = engine_contract(self.role, self.config)
        return (*contract.outputs, *contract.optional)

    def normalise(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Normalise tokens [...,D]; the sums inside are fp32 in every precision."""
        weight, bias = norm.weight.to(self.dtype), norm.bias.to(self.dtype)
        return F.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)

    def enter(self, tokens: Tensor) -> Tensor:
        """Make tokens [B,T,D] ready for the first block, as the reference's `enter`."""
        return self.normalise(tokens, self.model.norm_pre) if self.config.geometry.pre_norm else tokens

    def placed(self, positions: Tensor) -> Tensor:
        """Add the patch embedding's bias to positions [T,D]: one addition to the tokens instead of two."""
        bias = self.model.patch_embed.proj.bias
        assert bias is not None
        return (positions.float() + bias.float()).to(self.dtype)

    def embed(self, patches: Tensor) -> Tensor:
        """Embed patches [B,T,3PP] as tokens [B,T,D], without the bias."""
        return F.linear(patches, self.model.patch_embed.proj.weight.flatten(1))

    def leading(self, table: Tensor, batch: int | torch.SymInt) -> Tensor:
        """Return the class token and the registers [B,1+R,D]; positions [1,T,D] begin with the class token's."""
        return self.model.leading(table, 1).to(self.dtype).expand(batch, -1, -1)

    def blocks(self, x: Tensor, attend: Attend) -> Tensor:
        """Run all blocks on tokens [B,T,D] and normalise what comes out."""
        layers = self.model.layers()
        following = [*(block.norm1 for block in layers[1:]), self.model.norm]
        normed = self.normalise(x, layers[0].norm1)
        for number, (block, norm) in enumerate(zip(layers, following, strict=True)):
            part, mlp = block.attn, block.mlp
            update = F.linear(attend(number, part, normed), part.proj.weight)
            normed, x = add_and_normalise(x, update, part.proj.bias, block.norm2)
            normed, x = add_and_normalise(x, hidden_out(normed, mlp), mlp.fc2.bias, norm)
        return normed

    def classify(self, token: Tensor) -> tuple[Tensor, Tensor]:
        """Map class tokens [B,D] to logits [B,C] and the confidence [B,2], in fp32.

        Two numbers an image, so that the host need not look at a thousand: the highest probability, and the sum of the
        logits, which tells whether all of them are finite.
        """
        logits: Tensor = self.model.head(token.float())
        highest = logits.softmax(dim=1).amax(dim=1, keepdim=True)
        return logits, torch.cat([highest, logits.sum(dim=1, keepdim=True)], dim=1)

    def images(self, image: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Embed images [B,3,H,W] at positions [1,T+1,D]; returns the patches' tokens [B,T,D] and all [B,1+R+T,D]."""
        tokens = self.enter(self.embed(patchify(image, self.config.geometry.patch_size)) + self.placed(table[:, 1:]))
        return tokens, torch.cat([self.leading(table, image.shape[0]), tokens], dim=1)


class GpuEE(GpuModule):
    """Stage 1, with the scores of all blocks computed at once behind the last one."""

    role = "ee"

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Run stage 1: image [B,3,S/2,S/2] -> logits, scores, features, embeddings, confidence."""
        weights = score_weights(self.config)
        queries: list[Tensor] = []
        keys: list[Tensor] = []

        def attend(number: int, part: Attention, x: Tensor) -> Tensor:
            if not weights[number]:
                return attend_all(number, part, x)
            q, k, v = split(part, x)
            queries.append(q[:, :1])
            keys.append(k)
            return multi_head_attention(q, k, v, part.qkv.bias, part.heads)

        embeddings, x = self.images(image, self.model.low_positions())
        x = self.blocks(x, attend)
        first = 1 + self.config.geometry.registers
        logits, confidence = self.classify(x[:, 0])
        return logits, self.scores(queries, keys, weights), x[:, first:], embeddings, confidence

    def scores(self, queries: list[Tensor], keys: list[Tensor], weights: list[float]) -> Tensor:
        """Weigh the class token's attention, given its queries [B,1,D] and the keys [B,T,D] of blocks: [B,N].

        A block's heads are told apart by zeros in the query of each, which costs a few products and saves transposes.
        The keys' bias is left out, which softmax cancels.
        """
        geometry = self.config.geometry
        width, heads, size = geometry.width, geometry.heads, geometry.width // geometry.heads
        counted = [(block.attn, weight) for block, weight in zip(self.model.layers(), weights, strict=True) if weight]
        count, tokens = len(counted), keys[0].shape[1]
        # [D,H]: the scale where the channel is the head's, else 0.
        belongs = torch.eye(heads).repeat_interleave(size, dim=0).to(self.dtype) * size**-0.5
        bias = torch.stack([part.qkv.bias[:width] for part, _ in counted]).to(self.dtype)
        asked = (torch.cat(queries, dim=1) + bias).reshape(-1, count, width, 1) * belongs
        held = torch.cat(keys, dim=1).reshape(-1, count, tokens, width)
        logits = multiply(held, asked, (asked.shape[0], count, tokens, heads))
        probabilities = logits.transpose(2, 3).float().softmax(dim=-1)
        shares = torch.tensor([weight / heads for _, weight in counted]).reshape(count, 1, 1)
        return (probabilities * shares).sum(dim=(1, 2))[:, 1 + geometry.registers :]


class GpuSAC(GpuModule):
    """Stage 2, attention among all tokens with a mask for the clusters.

    Apart, each cluster would need kernels of its own, and others to cut the tokens in two and to join them; at a
    hundred tokens the products that a mask wastes are far cheaper.
    """

    role = "sac"

    def __init__(self, model: ReferenceSACViT) -> None:
        super().__init__(model)
        geometry = self.config.geometry
        twice = self.config.method.class_token == "mean"
        self.places = Places(geometry.tokens, 1 + geometry.registers, twice=twice)

    def forward(
        self, patches: Tensor, positions: Tensor, target_features: Tensor, background: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run stage 2; returns logits [B,C] and confidence [B,2]."""
        table, batch, at = self.model.high_positions(), patches.shape[0], patches.shape[1]
        tokens = self.enter(self.embed(patches) + F.embedding(positions, self.placed(table[0, 1:])))
        tokens, leading = self.fuse(tokens, target_features), self.leading(table, batch)
        if self.config.method.attention == "global":
            x = self.blocks(torch.cat([tokens, leading, background], dim=1), attend_all)
        else:
            facts, padding = self.places.facts(at, background.shape[1])
            mask = self.places.mask(facts).to(self.dtype).expand(1, self.config.geometry.heads, -1, -1)
            # For each image, since CUDA multiplies two stacks of matrices in one kernel, but one matrix by a stack of
            # them by lists of addresses, which are copied there each time.
            mean = self.places.mean(facts).to(self.dtype).expand(batch, -1, -1) if self.places.twice else None
            shared = [leading] * (2 if self.places.twice else 1)
            x = torch.cat([tokens, *shared, F.pad(background, (0, 0, 0, padding))], dim=1)
            x = self.blocks(x, masked(mask, mean))
        # An index from a shape is copied to the device before a gather, while a slice takes it on the host.
        return self.classify(x[:, at:][:, 0])

    def fuse(self, tokens: Tensor, target_features: Tensor) -> Tensor:
        """Add each parent's stage-1 feature [B,M,D] to its four children [B,4M,D], as the reference's `fuse`."""
        if self.config.method.fusion == "none":
            return tokens
        norm, mlp = self.model.reuse_block
        assert isinstance(norm, nn.LayerNorm) and isinstance(mlp, Mlp)
        parents = hidden_out(self.normalise(target_features, norm), mlp) + mlp.fc2.bias
        batch, count, width = target_features.shape
        share = CHILDREN if self.config.method.fusion == "expand" else 1
        fused = tokens.reshape(batch, count, CHILDREN, width) + parents.reshape(batch, count, share, width)
        return fused.reshape(batch, CHILDREN * count, width)


class GpuDeiT(GpuModule):
    """The baseline, a plain DeiT: images [B,3,S,S] -> logits [B,C], confidence [B,2]."""

    role = BASELINE

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run all hi-res tokens through all blocks."""
        _, x = self.images(image, self.model.high_positions())
        return self.classify(self.blocks(x, attend_all)[:, 0])


def hidden_out(x: Tensor, mlp: Mlp) -> Tensor:
    """Run an MLP on features [...,D], without the last bias."""
    return F.linear(bias_gelu(F.linear(x, mlp.fc1.weight), mlp.fc1.bias), mlp.fc2.weight)


def attend_all(_: int, part: Attention, x: Tensor) -> Tensor:
    """Attend among all tokens [B,T,D]; returns values of that shape."""
    return attention(x, part.qkv.weight.T, part.qkv.bias, part.heads)


def split(part: Attention, x: Tensor) -> tuple[Tensor, ...]:
    """Project tokens [B,T,D] to queries, keys and values [B,T,D], without bias."""
    return F.linear(x, part.qkv.weight).chunk(3, dim=2)


def masked(mask: Tensor, mean: Tensor | None) -> Attend:
    """Attend among all tokens with a mask [1,H,T,T], and average the values by `mean` [B,T,T]."""

    def attend(_: int, part: Attention, x: Tensor) -> Tensor:
        values = attention(x, part.qkv.weight.T, part.qkv.bias, part.heads, mask)
        return values if mean is None else multiply(mean, values, x.shape)

    return attend
