"""The training loss and its parts."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.export.model import StageOneOutputs
from sacvit_deploy.training.recipe import Recipe


def total_loss(
    recipe: Recipe, one: StageOneOutputs, sac: Tensor | None, labels: Tensor, touched: Tensor | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss to minimise and the values to log.

    sac: stage 2's logits [B,C], None while stage 1 trains alone, on CE(ee, y). Both stages: CE(sac, y) + KL(ee, sac)
    with stage 2 as the teacher, as in the paper, or CE(sac, y) + CE(ee, y). Where the tokens that the object touches
    are known ([B,N] bool), the attention loss adds -log(class attention on them) for a stage 1 that selects them.
    """
    logged = {"ee_accuracy": accuracy(one.logits, labels)}
    loss = F.cross_entropy(one.logits, labels, label_smoothing=recipe.smoothing)
    if sac is not None:
        logged["sac_accuracy"] = accuracy(sac, labels)
        ee_loss = divergence(one.logits, sac.detach()) if recipe.ee_loss == "kl" else loss
        loss = F.cross_entropy(sac, labels, label_smoothing=recipe.smoothing) + ee_loss
    if touched is not None and recipe.attention_loss_weight:
        on_object = (one.scores * touched).sum(1)
        logged["found"] = on_object.detach().mean()
        loss = loss - recipe.attention_loss_weight * (on_object + 1e-4).log().mean()
    return loss, logged | {"loss": loss.detach()}


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of KL(teacher || student) over the batch, of two [B,C] logits."""
    log_p, log_q = student.log_softmax(1), teacher.log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the top-1 accuracy of [B,C] logits, 0 to 1."""
    return (logits.argmax(1) == labels).float().mean()
