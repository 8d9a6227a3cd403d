"""What a step minimises."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.export.model import StageOne
from sacvit_deploy.training.recipe import Recipe


def total_loss(
    recipe: Recipe, one: StageOne, sac: Tensor | None, labels: Tensor, touched: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss and what to log of it.

    Stage 1 alone: CE(ee, y). Both: CE(sac, y) + KL(ee, sac) as in the paper, the second stage being the
    teacher, or CE(sac, y) + CE(ee, y). Where the tokens the object touches are known, `look` adds
    -log(class attention on them): stage 2 sees in full what stage 1 looked at.
    """
    said = {"ee_accuracy": accuracy(one.logits, labels)}
    ce = F.cross_entropy(one.logits, labels, label_smoothing=recipe.smoothing)
    if sac is None:
        loss = ce
    else:
        said["sac_accuracy"] = accuracy(sac, labels)
        loss = F.cross_entropy(sac, labels, label_smoothing=recipe.smoothing)
        loss = loss + (divergence(one.logits, sac.detach()) if recipe.ee_loss == "kl" else ce)
    if touched is not None and recipe.look:
        found = (one.scores * touched).sum(1)
        said["found"] = found.detach().mean()
        loss = loss - recipe.look * (found + 1e-4).log().mean()
    return loss, said | {"loss": loss.detach()}


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL divergence of two [B,C] logits: how far the student's distribution is from the teacher's."""
    log_p, log_q = student.log_softmax(1), teacher.log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of [B,C] logits whose largest is the label's."""
    return (logits.argmax(1) == labels).float().mean()
