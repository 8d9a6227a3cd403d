"""What decides a training run: the recipe's numbers, the shipped model's config, the optimiser, the learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from sacvit_deploy.config import Geometry, ModelConfig, Preprocessing
from sacvit_deploy.export.model import SACViT
from sacvit_deploy.training.classes import LABELS

Phase = Literal["one", "both"]
PHASES: tuple[Phase, ...] = ("one", "both")
ETA = 0.6  # the saved checkpoint's gate


@dataclass(frozen=True)
class Recipe:
    """What decides the result, next to the scenes and the model's config."""

    seed: int = 0
    batch: int = 128
    rate_one: float = 1e-3
    rate_both: float = 5e-4
    weight_decay: float = 0.05
    warmup: float = 0.03  # share of a phase
    clip: float = 1.0
    average: float = 0.998
    zoom_share: float = 0.5
    look: float = 0.2  # weight of -log(class attention on the object)
    ee_loss: Literal["ce", "kl"] = "ce"
    steps: tuple[int, int] | None = None  # of the two phases; None means minutes decide
    minutes: tuple[float, float] = (30.0, 45.0)


def small_config() -> ModelConfig:
    """Return the shipped model's config: DeiT's shape at half of DeiT-S's width and depth, sixty classes."""
    geometry = Geometry(image_size=224, patch_size=16, width=192, depth=6, heads=3, classes=len(LABELS))
    return ModelConfig(geometry=geometry, preprocessing=Preprocessing(crop=1.0))


def learning_rate(recipe: Recipe, phase: int, done: float) -> float:
    """Return the rate at a share `done` of a phase: linear warm-up, then a cosine down to 2 % of the peak."""
    peak = (recipe.rate_one, recipe.rate_both)[phase]
    if done < recipe.warmup:
        return peak * max(done / recipe.warmup, 0.01)
    turn = math.pi * (done - recipe.warmup) / (1 - recipe.warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(turn)))


def make_optimiser(model: SACViT, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays matrices only, not positions, norms and biases."""
    matrices = [p for p in model.parameters() if p.ndim in (2, 4)]
    rest = [p for p in model.parameters() if p.ndim not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate_one, betas=(0.9, 0.98), foreach=True)
