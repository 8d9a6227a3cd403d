"""The recipe of a training run: hyperparameters, the learning-rate schedule, the optimisers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from sacvit_deploy.export.model import ReferenceSACViT

Phase = Literal["one", "both"]
PHASES: tuple[Phase, ...] = ("one", "both")
Unit = Literal["epochs", "steps", "minutes"]
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


def make_optimisers(model: ReferenceSACViT, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Make AdamW with weight decay on matrices only (not positions, norms, biases); with `muon`, Muon for the blocks.

    Muon (https://kellerjordan.github.io/posts/muon) makes the update of each matrix orthogonal. Its updates are scaled
    to the size of AdamW's, so one learning rate serves both.
    """
    muon = recipe.optimiser == "muon"
    blocks = [p for n, p in model.named_parameters() if muon and p.ndim == 2 and n.startswith("blocks.")]
    in_muon = {id(p) for p in blocks}
    matrices = [p for p in model.parameters() if p.ndim in (2, 4) and id(p) not in in_muon]
    rest = [p for p in model.parameters() if p.ndim not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=recipe.rates[1], betas=(0.9, 0.98), foreach=True)
    ]
    if blocks:
        decay, scale = recipe.weight_decay, "match_rms_adamw"
        optimisers.append(torch.optim.Muon(blocks, lr=recipe.rates[1], weight_decay=decay, adjust_lr_fn=scale))
    return optimisers


def fast_bf16(device: torch.device) -> bool:
    """Tell whether bfloat16 products are fast on `device`: GPUs from Ampere on, CPUs with instructions for them."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
