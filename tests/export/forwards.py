"""Forward passes of other families' classifiers over their own state dicts, written from their published formulas.

They share no code with the package. Names, shapes and order of the steps are those of timm's VisionTransformer and of
transformers' ViTForImageClassification and DeiTForImageClassification; all in double precision.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


class Forward:
    """Weights by name, with the layers that every family has."""

    def __init__(self, weights: Weights, heads: int, eps: float) -> None:
        self.w = {name: value.double() for name, value in weights.items()}
        self.heads, self.eps = heads, eps

    def depth(self, marker: str) -> int:
        return len([name for name in self.w if name.endswith(marker)])

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], self.eps)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend among tokens [B,T,D], with the heads side by side in D."""
        parts = [x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v)]
        return F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)

    def patches(self, name: str, image: Tensor) -> Tensor:
        weight = self.w[f"{name}.weight"]
        embedded = F.conv2d(image.double(), weight, self.w.get(f"{name}.bias"), stride=weight.shape[-1])
        return embedded.flatten(2).transpose(1, 2)


class Timm(Forward):
    """timm's VisionTransformer with token pooling: registers, layer scale, pre-norm, positions for all or patches."""

    def __init__(self, weights: Weights, heads: int, eps: float = 1e-6) -> None:
        super().__init__(weights, heads, eps)

    def __call__(self, image: Tensor) -> Tensor:
        return self.linear("head", self.pooled(image))

    def pooled(self, image: Tensor) -> Tensor:
        """Return what the classifier reads [B,D]: the class token after the last norm, if there is one."""
        w, x = self.w, self.patches("patch_embed.proj", image)
        prefix = [w["cls_token"]] + ([w["reg_token"]] if "reg_token" in w else [])
        prefix = [token.expand(len(x), -1, -1) for token in prefix]
        if w["pos_embed"].shape[1] == x.shape[1]:
            x = torch.cat([*prefix, x + w["pos_embed"]], dim=1)
        else:
            x = torch.cat([*prefix, x], dim=1) + w["pos_embed"]
        if "norm_pre.weight" in w:
            x = self.norm("norm_pre", x)
        for i in range(self.depth("attn.qkv.weight")):
            block = f"blocks.{i}"
            q, k, v = self.linear(f"{block}.attn.qkv", self.norm(f"{block}.norm1", x)).chunk(3, dim=2)
            x = x + w.get(f"{block}.ls1.gamma", 1.0) * self.linear(f"{block}.attn.proj", self.attend(q, k, v))
            hidden = F.gelu(self.linear(f"{block}.mlp.fc1", self.norm(f"{block}.norm2", x)))
            x = x + w.get(f"{block}.ls2.gamma", 1.0) * self.linear(f"{block}.mlp.fc2", hidden)
        last = next((name for name in ("norm", "fc_norm") if f"{name}.weight" in w), None)
        return x[:, 0] if last is None else self.norm(last, x)[:, 0]


class Transformers(Forward):
    """transformers' ViT and DeiT for image classification, over the names that save_pretrained writes."""

    def __init__(self, weights: Weights, heads: int, eps: float, body: str) -> None:
        super().__init__(weights, heads, eps)
        self.body = body

    def __call__(self, image: Tensor) -> Tensor:
        return self.linear("classifier", self.pooled(image))

    def pooled(self, image: Tensor) -> Tensor:
        """Return what the classifier reads [B,D]: the class token after the last norm."""
        w, at = self.w, f"{self.body}.embeddings"
        x = self.patches(f"{at}.patch_embeddings.projection", image)
        prefix = [w[f"{at}.{name}"] for name in ("cls_token", "distillation_token") if f"{at}.{name}" in w]
        x = torch.cat([*(token.expand(len(x), -1, -1) for token in prefix), x], dim=1) + w[f"{at}.position_embeddings"]
        for i in range(self.depth("attention.attention.query.weight")):
            block = f"{self.body}.encoder.layer.{i}"
            normed = self.norm(f"{block}.layernorm_before", x)
            q, k, v = (self.linear(f"{block}.attention.attention.{part}", normed) for part in ("query", "key", "value"))
            x = x + self.linear(f"{block}.attention.output.dense", self.attend(q, k, v))
            hidden = F.gelu(self.linear(f"{block}.intermediate.dense", self.norm(f"{block}.layernorm_after", x)))
            x = x + self.linear(f"{block}.output.dense", hidden)
        return self.norm(f"{self.body}.layernorm", x)[:, 0]


def timm_weights(
    size: int = 64,
    width: int = 64,
    depth: int = 2,
    classes: int = 5,
    *,
    patch: int = 16,
    registers: int = 0,
    embed_prefix: bool = True,
    layer_scale: bool = False,
    pre_norm: bool = False,
    qkv_bias: bool = True,
    last_norm: str = "norm",
) -> Weights:
    """Make a state dict as timm's VisionTransformer has it with these arguments, in its order of names."""
    grid = (size // patch) ** 2
    shapes: dict[str, tuple[int, ...]] = {"cls_token": (1, 1, width)}
    if registers:
        shapes["reg_token"] = (1, registers, width)
    shapes["pos_embed"] = (1, grid + (1 + registers) * embed_prefix, width)
    shapes["patch_embed.proj.weight"] = (width, 3, patch, patch)
    if pre_norm:  # then timm's patch embedding goes without a bias
        shapes |= {"norm_pre.weight": (width,), "norm_pre.bias": (width,)}
    else:
        shapes["patch_embed.proj.bias"] = (width,)
    for i in range(depth):
        block = f"blocks.{i}"
        for name, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes[f"{block}.{name}.weight"] = (out, into)
            if qkv_bias or name != "attn.qkv":
                shapes[f"{block}.{name}.bias"] = (out,)
        shapes |= {f"{block}.{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        if layer_scale:
            shapes |= {f"{block}.ls1.gamma": (width,), f"{block}.ls2.gamma": (width,)}
    shapes |= {f"{last_norm}.weight": (width,), f"{last_norm}.bias": (width,)}
    shapes |= {"head.weight": (classes, width), "head.bias": (classes,)}
    return drawn(shapes)


def transformers_weights(
    body: str = "vit", size: int = 64, width: int = 64, depth: int = 2, classes: int = 5, *, patch: int = 16
) -> Weights:
    """Make a state dict as save_pretrained writes it for ViT (`vit`) or DeiT (`deit`, with a distillation token)."""
    grid, at = (size // patch) ** 2, f"{body}.embeddings"
    distilled = body == "deit"
    shapes: dict[str, tuple[int, ...]] = {
        "classifier.bias": (classes,),
        "classifier.weight": (classes, width),
        f"{at}.cls_token": (1, 1, width),
        f"{at}.patch_embeddings.projection.bias": (width,),
        f"{at}.patch_embeddings.projection.weight": (width, 3, patch, patch),
        f"{at}.position_embeddings": (1, grid + 1 + distilled, width),
    }
    if distilled:
        shapes[f"{at}.distillation_token"] = (1, 1, width)
    for i in range(depth):
        block = f"{body}.encoder.layer.{i}"
        layers = {
            "attention.attention.query": (width, width),
            "attention.attention.key": (width, width),
            "attention.attention.value": (width, width),
            "attention.output.dense": (width, width),
            "intermediate.dense": (3 * width, width),
            "output.dense": (width, 3 * width),
        }
        for name, shape in layers.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
        for name in ("layernorm_before", "layernorm_after"):
            shapes |= {f"{block}.{name}.weight": (width,), f"{block}.{name}.bias": (width,)}
    shapes |= {f"{body}.layernorm.weight": (width,), f"{body}.layernorm.bias": (width,)}
    return drawn(shapes)


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    """Draw values for which every weight matters, biases and norms too."""
    random = torch.Generator().manual_seed(seed)
    out = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=random)
        if "norm" in name and name.endswith("weight"):
            out[name] = 1 + 0.3 * noise
        elif name.endswith("gamma"):
            out[name] = 0.5 + 0.3 * noise
        elif len(shape) in (2, 4):
            out[name] = 1.2 * noise / noise[0].numel() ** 0.5
        else:
            out[name] = 0.3 * noise
    return out
