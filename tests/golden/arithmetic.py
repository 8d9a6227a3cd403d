"""What the runtime's arithmetic gives on made-up inputs, for the runtimes of both languages.

`python tests/golden/arithmetic.py` writes `arithmetic.json` beside it. Run it only after a change that is meant: the
file is what Python and C++ must agree on, and what keeps both as they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sacvit_deploy.backends.choose import choose_precision
from sacvit_deploy.confidence import NEAR, StageAnswers, classify, softmax
from sacvit_deploy.config import Geometry, Method, ModelConfig, Preprocessing
from sacvit_deploy.errors import UsageError
from sacvit_deploy.geometry import child_positions, num_targets
from sacvit_deploy.glue import gather_patches
from sacvit_deploy.images.preprocess import fit, low_view, scale_and_shift
from sacvit_deploy.selection import choose_targets, select_targets, window_sums

GOLDEN = Path(__file__).with_name("arithmetic.json")
RECIPES = (
    Preprocessing(resize_rounding="nearest"),
    Preprocessing("bilinear", 0.9, resize_rounding="nearest"),
    Preprocessing(crop=1.0, mean=(0.5,) * 3, std=(0.25,) * 3, resize_rounding="nearest"),
)
# Sizes at which the two ways of rounding S / crop differ.
ROUNDED = [(size, Preprocessing(crop=crop, resize_rounding=way)) for way in ("floor", "nearest")
           for size, crop in ((160, 0.9), (256, 0.875), (384, 0.9))]  # fmt: skip
SQUASHED = [(160, Preprocessing("bilinear", 0.9, resize="squash")), (224, Preprocessing(resize="squash")),
            (288, Preprocessing(crop=1.0, resize="squash", resize_rounding="nearest"))]  # fmt: skip
SIZES = ((500, 375), (375, 500), (224, 224), (256, 256), (640, 480), (31, 400), (400, 31), (5, 300), (1, 1), (90, 1000))
STRIPS = ((65_536, 2), (70_001, 3), (2, 140_000), (200_001, 1))  # so long that a squashed one is averaged first


def made_up(width: int, height: int, channels: int = 3) -> npt.NDArray[np.uint8]:
    """[height, width, channels] values that both languages compute alike, without much order."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels].astype(np.uint64)
    mixed = (x * 2654435761 + y * 40503 + c * 69069 + x * y * 97) % 4294967296
    values: npt.NDArray[np.uint8] = ((mixed ^ (mixed >> 15)) % 256).astype(np.uint8)
    return values


def sha256(array: npt.NDArray[Any]) -> str:
    """Of an array's bytes, row-major, little-endian."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def compute() -> dict[str, Any]:
    """Everything in the file."""
    return {
        "fit": [_fit(*shape, size, recipe) for shape in SIZES for size in (224, 288) for recipe in RECIPES]
        + [_fit(*shape, *case) for shape in SIZES for case in (*ROUNDED, *SQUASHED)]
        + [_fit(*shape, 224, Preprocessing(resize="squash")) for shape in STRIPS],
        "low_view": [_low_view(size, way, recipe) for size in (32, 224, 288) for way in ("area", "bilinear_corners")
                     for recipe in RECIPES],
        "targets": [_targets(alpha, tokens, way) for alpha in (0.001, 0.3, 0.5, 0.7, 0.9, 0.995, 1 / 3, 0.0, 1.0)
                    for tokens in (4, 49, 81) for way in ("floor", "ceil")],
        "window_targets": [_targets(alpha, tokens, way, side**2) for alpha in (0.001, 0.04, 0.88, 1.0, 1.01)
                           for tokens, side in ((4, 1), (4, 2), (49, 5), (81, 9)) for way in ("floor", "ceil")],
        "select": [_select(tokens, count, seed) for tokens in (4, 49, 81) for count in (1, 3, tokens // 2, tokens - 1)
                   for seed in range(4)],
        "window": [_window(grid, side, alpha, values) for grid, side in ((2, 1), (3, 3), (7, 3), (7, 5), (9, 5), (9, 8))
                   for alpha in (0.12, 0.88) for values in (2, 5, 256)],
        "gather": [_gather(size, patch) for size, patch in ((224, 16), (288, 16), (64, 8))],
        "softmax": [_softmax(seed) for seed in range(6)],
        "gate": [_gate(seed, off, bad) for seed in range(6) for off in (None, -0.9 * NEAR, 0.0, 0.9 * NEAR)
                 for bad in ("", "nan", "inf", "-inf")],
        "precision": [
            [variants, provider, features, choose_precision(variants, provider, features)[0]]
            for variants in (["fp32", "fp16", "int8"], ["fp32"], ["fp16"], ["int8"])
            for provider in ("cpu", "CPUExecutionProvider", "cuda")
            for features in (["avx2"], ["avx2", "avx_vnni"], ["asimddp"], [])
        ],
        "numbers": [[v, round(v, 6), json.dumps(round(v, 6)), json.dumps(round(v, 3))]
                    for v in (0.0, 1.0, 0.5, 1e-7, 4.9e-7, 5.1e-7, 1e-5, 1.25e-5, 0.00012345678, 0.1234565, 2 / 3,
                              99.9999996, 1234.5678)],
        "texts": [[text, json.dumps(text)] for text in ("plain", 'a"b\\c/d', "tab\tnew\nline\r\b\f", "\x01\x1f\x7f",
                                                         "überraschung", "日本", "😀", "")],
        "lines": [[text, text.splitlines()] for text in ("", "a", "a\n", "a\nb", "a\r\nb\rc", "a\vb\fc", "a\x1cb\x85c",
                                                         "a\u2028b\u2029", "\n\n")],
    }  # fmt: skip


def _recipe(recipe: Preprocessing) -> dict[str, Any]:
    return dataclasses.asdict(recipe)


def _fit(width: int, height: int, size: int, recipe: Preprocessing) -> dict[str, Any]:
    found = fit(Image.fromarray(made_up(width, height)), size, recipe)
    return {"width": width, "height": height, "size": size, "recipe": _recipe(recipe), "sha256": sha256(found)}


def _low_view(size: int, way: str, recipe: Preprocessing) -> dict[str, Any]:
    view = low_view(made_up(size, size)[None], way, recipe)
    scale, shift = scale_and_shift(recipe)
    return {"size": size, "downsample": way, "recipe": _recipe(recipe), "sha256": sha256(view),
            "scale": scale.tolist(), "shift": shift.tolist()}  # fmt: skip


def _targets(alpha: float, tokens: int, rounding: str, *window: int) -> list[Any]:
    try:
        return [alpha, tokens, rounding, *window, num_targets(alpha, tokens, rounding, *window), None]
    except UsageError as error:
        return [alpha, tokens, rounding, *window, None, str(error)]


def _select(tokens: int, count: int, seed: int) -> dict[str, Any]:
    # Few different values, so that many are equal.
    scores = (made_up(tokens, 1, 1).ravel().astype(np.float32) % (5 + 50 * seed)) / np.float32(64)
    chosen = select_targets(scores[None], count)
    grid = round(tokens**0.5)
    return {"scores": scores.tolist(), "count": count, "targets": chosen[0].tolist(), "grid": grid,
            "children": child_positions(chosen, grid)[0].tolist()}  # fmt: skip


def _window(grid: int, side: int, alpha: float, values: int) -> dict[str, Any]:
    # Thirds, so that sums round and their order shows; of few different values, so that windows are equal.
    scores = (made_up(grid * grid, 1, 1).ravel().astype(np.float32) % values) / np.float32(3)
    method = Method(selection="window", region_size=side, alpha=alpha, rounding="ceil")
    config = ModelConfig(Geometry(image_size=32 * grid), method)
    count = config.num_targets()
    return {"scores": scores.tolist(), "grid": grid, "side": side, "alpha": alpha, "count": count,
            "sums": window_sums(scores, grid, side)[0].tolist(),
            "targets": choose_targets(scores[None], count, config)[0].tolist()}  # fmt: skip


def _gather(size: int, patch: int) -> dict[str, Any]:
    targets = np.arange(0, (size // patch // 2) ** 2, 3)[None]
    patches = gather_patches(made_up(size, size)[None], targets, patch)
    return {"size": size, "patch": patch, "targets": targets[0].tolist(), "sha256": sha256(patches)}


def _softmax(seed: int) -> dict[str, Any]:
    logits = (made_up(20, 1 + seed)[seed, :, 0].astype(np.float32) - 128) / np.float32(1 + 7 * seed)
    return {"logits": logits.tolist(), "probabilities": softmax(logits[None])[0].tolist()}


def _gate(seed: int, off: float | None, bad: str) -> dict[str, Any]:
    """Who exits for etas far from an image's probability and next to it. off: a device's error; None: none says it."""
    logits = (made_up(20, 1 + seed)[seed, :, :1].astype(np.float32).T - 128) / np.float32(1 + 7 * seed)
    exact = classify(StageAnswers(logits))[0]
    if bad:
        logits[0, 3] = float(bad)
    confidence = None
    if off is not None:
        with np.errstate(invalid="ignore"):
            confidence = np.array([[round(exact + off, 6), logits.sum(dtype=np.float64)]], np.float32)
    steps = (-0.5, -1e-3, -NEAR, -1e-9, 1e-9, NEAR, 1e-3, 0.5)
    # Rounded, as exp may differ in its last bit from one numpy to another.
    etas = [0.0, 1.0, *(round(min(max(exact + step, 0.0), 1.0), 12) for step in steps)]
    highest = [classify(StageAnswers(logits, confidence), [eta])[0] for eta in etas]
    exits = [None if np.isnan(one) else one > eta for one, eta in zip(highest, etas, strict=True)]
    return {"logits": [str(value) for value in logits[0].tolist()], "etas": etas, "exits": exits,
            "confidence": None if confidence is None else [str(value) for value in confidence[0].tolist()]}  # fmt: skip


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(compute(), indent=None, separators=(",", ":")).replace("},{", "},\n{") + "\n")
