"""The recipe of a training run: hyperparameters, the learning-rate schedule. Loads no torch."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

PHASES = ("one", "both")
Unit = Literal["epochs", "steps", "minutes"]
UNITS: tuple[Unit, ...] = ("epochs", "steps", "minutes")
OptimiserName = Literal["adamw", "muon"]
DENSE = 4 / 7  # share of phase `both` before clustering begins, as in the paper


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters: with the data and the model's config, they determine the weights.

    Phase `one` trains stage 1 alone, which is cheap; phase `both` is the paper's training. `amounts` are their lengths
    in `unit`: a run measured in epochs or steps repeats exactly, one measured in minutes does not.
    """

    amounts: tuple[float, float] = (0.0, 300.0)
    unit: Unit = "epochs"
    rates: tuple[float, float] = (1e-3, 1e-3)  # peak learning rate of each phase
    optimiser: OptimiserName = "adamw"
    batch: int = 256
    seed: int = 0
    ee_loss: Literal["kl", "ce"] = "kl"  # stage 1 learns from stage 2 (the paper), or from the labels
    dense: float = DENSE
    smoothing: float = 0.1
    weight_decay: float = 0.05
    warmup: float = 0.03  # share of a phase
    clip: float = 1.0
    average: float = 0.9998  # decay of the averaged weights, per step
    attention_loss_weight: float = 0.0  # of -log(class attention on the object), where the data set knows its box
    random_targets: bool = False  # an ablation: stage 2 sees random tokens

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as state files, checkpoints and ablation results store them.

        There, as on the command line, the attention loss's weight is called `look`.
        """
        return {"look" if name == "attention_loss_weight" else name: value for name, value in asdict(self).items()}


def learning_rate(recipe: Recipe, phase: int, done: float) -> float:
    """Return the rate at a share `done` of a phase: linear warm-up, then a cosine decay to 2 % of the peak."""
    peak = recipe.rates[phase]
    if done < recipe.warmup:
        return peak * max(done / recipe.warmup, 0.01)
    turn = math.pi * (done - recipe.warmup) / (1 - recipe.warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(turn)))
