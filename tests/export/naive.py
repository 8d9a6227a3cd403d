"""Second implementation of the method, as plain as it can be: numpy in fp64, one image at a time.

Shares no code with the package. Clusters are masks over one attention of all tokens, children are found by walking the
two grids, downsampling and resizing are written as sums over their taps, scores in the recursive form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
erf = np.vectorize(math.erf, otypes=[float])


@dataclass
class NaiveStageOne:
    logits: Array  # [C]
    scores: Array  # [N], the plain recursive moving average
    features: Array  # [N, D]
    embeddings: Array  # [N, D]


class Naive:
    """Second implementation, over weights by state-dict name and the config as a manifest's plain dict."""

    def __init__(self, weights: dict[str, Any], config: dict[str, Any]) -> None:
        self.w = {key: np.asarray(value, dtype=np.float64) for key, value in weights.items()}
        self.geometry, self.method = config["geometry"], config["method"]
        self.patch = self.geometry["patch_size"]
        self.side = self.geometry["image_size"] // self.patch  # hi-res tokens a side
        self.grid = self.side // 2

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred**2).mean(axis=-1, keepdims=True)
        return (
            centred / np.sqrt(variance + self.geometry.get("norm_eps", 1e-6)) * self.w[f"{name}.weight"]
            + self.w[f"{name}.bias"]
        )

    def mlp(self, name: str, x: Array) -> Array:
        hidden = self.linear(f"{name}.fc1", x)
        hidden = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2)))
        return self.linear(f"{name}.fc2", hidden)

    def embed(self, image: Array) -> Array:
        """Embed an image [3, H, W] as tokens [(H/P)(W/P), D], by a dot product for each patch."""
        kernel = self.w["patch_embed.proj.weight"]
        rows = []
        for top in range(0, image.shape[1], self.patch):
            for left in range(0, image.shape[2], self.patch):
                window = image[:, top : top + self.patch, left : left + self.patch]
                rows.append(np.tensordot(kernel, window, axes=3) + self.w["patch_embed.proj.bias"])
        return np.stack(rows)

    def enter(self, tokens: Array) -> Array:
        return self.norm("norm_pre", tokens) if self.geometry.get("pre_norm") else tokens

    def leading(self, table: Array) -> Array:
        """Return the class token and the registers, which both clusters see."""
        rows = [self.w["cls_token"][0] + table[:1]]
        if "reg_token" in self.w:
            rows.append(self.w["reg_token"][0])
        return self.enter(np.concatenate(rows))

    def attention(self, block: int, x: Array, allowed: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
        """Attend among tokens [T, D] where `allowed` [T, T]; returns updates [T, D] and head-averaged probabilities."""
        heads, tokens, width = self.geometry["heads"], *x.shape
        size = width // heads
        q, k, v = np.split(self.linear(f"blocks.{block}.attn.qkv", x), 3, axis=1)
        values, mean = np.zeros((tokens, width)), np.zeros((tokens, tokens))
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = q[:, part] @ k[:, part].T / math.sqrt(size)
            logits = np.where(allowed, logits, -np.inf)
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            values[:, part] = weights @ v[:, part]
            mean += weights / heads
        return self.linear(f"blocks.{block}.attn.proj", values), mean

    def block(self, number: int, x: Array, masks: list[npt.NDArray[np.bool_]]) -> tuple[Array, Array]:
        """Run a block, averaging the updates of several masks; also returns the first mask's mean attention."""
        seen = [self.attention(number, self.norm(f"blocks.{number}.norm1", x), mask) for mask in masks]
        x = x + np.mean([update for update, _ in seen], axis=0)
        return x + self.mlp(f"blocks.{number}.mlp", self.norm(f"blocks.{number}.norm2", x)), seen[0][1]

    def everybody(self, tokens: int) -> list[npt.NDArray[np.bool_]]:
        return [np.ones((tokens, tokens), dtype=bool)]

    def half_size(self, image: Array) -> Array:
        """Halve an image [3, S, S] to [3, S/2, S/2]."""
        size = image.shape[1]
        half = size // 2
        if self.method["downsample"] == "area":
            corners = [image[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
            return np.mean(corners, axis=0)
        taps = np.zeros((half, size))
        for row in range(half):
            at = row * (size - 1) / (half - 1)
            low = min(int(at), size - 2)
            taps[row, low] += 1 - (at - low)
            taps[row, low + 1] += at - low
        return np.stack([taps @ channel @ taps.T for channel in image])

    def high_table(self) -> Array:
        return self.w["pos_embed" if self.method["positions"] == "shared" else "pos_embed_list.1"][0]

    def low_table(self) -> Array:
        """Return the position table [1 + N, D] of stage 1."""
        if self.method["positions"] == "separate":
            return self.w["pos_embed_list.0"][0]
        table = self.high_table()
        grid = table[1:].reshape(self.side, self.side, -1)
        # Bicubic (a = -0.75), pixel centres aligned: every output lies midway between two inputs.
        taps = np.zeros((self.grid, self.side))
        for row in range(self.grid):
            at = (row + 0.5) * 2 - 0.5
            first = math.floor(at) - 1
            for tap in range(first, first + 4):
                taps[row, min(max(tap, 0), self.side - 1)] += cubic(abs(at - tap))
        small = np.einsum("ia,jb,abd->ijd", taps, taps, grid)
        return np.concatenate([table[:1], small.reshape(self.grid**2, -1)])

    def stage_one(self, image: Array) -> NaiveStageOne:
        table = self.low_table()
        embeddings = self.enter(self.embed(self.half_size(image)) + table[1:])
        leading = self.leading(table)
        x = np.concatenate([leading, embeddings])
        scores = np.zeros(len(embeddings))
        depth, beta = self.geometry["depth"], self.method["score_beta"]
        first = self.method["score_first_block"]
        first = depth // 4 if first is None else first
        for number in range(depth):
            x, attention = self.block(number, x, self.everybody(len(x)))
            if number >= first:
                scores = beta * scores + (1 - beta) * attention[0, len(leading) :]
        x = self.norm("norm", x)
        return NaiveStageOne(self.linear("head", x[0]), scores, x[len(leading) :], embeddings)

    def targets(self, scores: Array, alpha: float | None = None) -> list[int]:
        among = range(len(scores))
        if self.method.get("selection") == "window":
            among = max(self.windows(), key=lambda window: sum(scores[token] for token in window))
        product = Fraction(str(self.method["alpha"] if alpha is None else alpha)) * len(among)
        count = math.floor(product) if self.method["rounding"] == "floor" else math.ceil(product)
        return sorted(sorted(among, key=lambda token: (-scores[token], token))[:count])

    def windows(self) -> list[list[int]]:
        """Return the tokens of every window of LF-ViT's, row by row."""
        side = self.method.get("region_size", 5)
        corners = [(y, x) for y in range(self.grid - side + 1) for x in range(self.grid - side + 1)]
        return [[(y + i) * self.grid + x + j for i in range(side) for j in range(side)] for y, x in corners]

    def children(self, parent: int) -> list[int]:
        """Return the four hi-res tokens over the same part of the image, row by row."""
        row, column = divmod(parent, self.grid)
        return [y * self.side + x for y in (2 * row, 2 * row + 1) for x in (2 * column, 2 * column + 1)]

    def stage_two(self, image: Array, one: NaiveStageOne, targets: list[int], *, clusters: bool = True) -> Array:
        table, everything = self.high_table(), self.embed(image)
        leading = self.leading(table)
        rows = list(leading)
        for target in targets:
            fused = np.zeros((4, self.geometry["width"]))
            if self.method["fusion"] != "none":
                given = self.mlp("reuse_block.1", self.norm("reuse_block.0", one.features[target]))
                fused = np.tile(given, (4, 1)) if self.method["fusion"] == "repeat" else np.split(given, 4)
            for child, extra in zip(self.children(target), fused, strict=True):
                rows.append(self.enter(everything[child] + table[1 + child]) + extra)
        source = one.embeddings if self.method["background"] == "embeddings" else one.features
        rows += [source[token] for token in range(len(source)) if token not in targets]
        x = np.stack(rows)
        masks = self.cluster_masks(len(x), len(leading), 4 * len(targets)) if clusters else self.everybody(len(x))
        for number in range(self.geometry["depth"]):
            x, _ = self.block(number, x, masks)
        return self.linear("head", self.norm("norm", x)[0])

    def cluster_masks(self, tokens: int, shared: int, count: int) -> list[npt.NDArray[np.bool_]]:
        """Make masks for the shared tokens (class token and registers), then `count` targets, then the background."""
        if self.method["attention"] == "global":
            return self.everybody(tokens)
        at = np.arange(tokens)
        kind = np.where(at < shared, 0, np.where(at < shared + count, 1, 2))
        with_targets = (kind[:, None] == kind[None, :]) | (kind == 0)[None, :]
        with_background = with_targets.copy()
        if self.method["class_token"] == "union":
            with_targets[kind == 0] = True
            return [with_targets]
        with_targets[kind == 0] = kind != 2
        with_background[kind == 0] = kind != 1
        return [with_targets, with_background]

    def deit(self, image: Array) -> Array:
        """Classify an image by the weights as a plain DeiT at full resolution."""
        table = self.high_table()
        x = np.concatenate([self.leading(table), self.enter(self.embed(image) + table[1:])])
        for number in range(self.geometry["depth"]):
            x, _ = self.block(number, x, self.everybody(len(x)))
        return self.linear("head", self.norm("norm", x)[0])


def cubic(distance: float, a: float = -0.75) -> float:
    """Evaluate Keys' bicubic kernel."""
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return 0.0
