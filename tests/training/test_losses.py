"""Losses, compared with their definitions."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from sacvit_deploy.export.model import StageOneOutputs
from sacvit_deploy.training.losses import accuracy, divergence, total_loss
from sacvit_deploy.training.recipe import Recipe

LABELS = torch.tensor([0, 2, 1])
PLAIN = Recipe(smoothing=0.0, ee_loss="ce")


def outputs(seed: int = 0) -> tuple[StageOneOutputs, torch.Tensor]:
    torch.manual_seed(seed)
    scores = torch.rand(3, 4).softmax(1)
    return StageOneOutputs(torch.randn(3, 5, requires_grad=True), scores, torch.empty(0), torch.empty(0)), torch.randn(
        3, 5, requires_grad=True
    )


def test_smoothing_spreads_a_share_of_the_label() -> None:
    one, _ = outputs()
    loss, _ = total_loss(dataclasses.replace(PLAIN, smoothing=0.2), one, None, LABELS, None)
    log_p = one.logits.log_softmax(1)
    expected = -(0.8 * log_p[torch.arange(3), LABELS] + 0.2 * log_p.mean(1)).mean()
    torch.testing.assert_close(loss, expected)


def test_divergence_by_hand() -> None:
    student, teacher = torch.randn(2, 4), torch.randn(2, 4)
    p, q = teacher.softmax(1), student.softmax(1)
    assert float(divergence(student, teacher)) == pytest.approx(float((p * (p / q).log()).sum(1).mean()), abs=1e-6)
    assert float(divergence(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)


def test_stage_one_alone_is_plain_cross_entropy() -> None:
    one, _ = outputs()
    loss, logged = total_loss(PLAIN, one, None, LABELS, None)
    assert torch.equal(loss, F.cross_entropy(one.logits, LABELS))
    assert set(logged) == {"ee_accuracy", "loss"}


def test_with_kl_stage_one_learns_from_stage_two_and_not_the_reverse() -> None:
    one, sac = outputs()
    loss, _ = total_loss(dataclasses.replace(PLAIN, ee_loss="kl"), one, sac, LABELS, None)
    torch.testing.assert_close(loss, F.cross_entropy(sac, LABELS) + divergence(one.logits, sac))
    (both,) = torch.autograd.grad(loss, sac, retain_graph=True)
    (alone,) = torch.autograd.grad(F.cross_entropy(sac, LABELS), sac)
    torch.testing.assert_close(both, alone)


def test_attention_loss_rewards_attention_on_the_object() -> None:
    one, sac = outputs()
    touched = torch.tensor([[True, False, False, False]] * 3)
    recipe = dataclasses.replace(PLAIN, attention_loss_weight=0.5)
    plain, _ = total_loss(PLAIN, one, sac, LABELS, touched)
    loss, logged = total_loss(recipe, one, sac, LABELS, touched)
    assert float(logged["found"]) == pytest.approx(float(one.scores[:, 0].mean()))
    torch.testing.assert_close(loss - plain, -0.5 * (one.scores[:, 0] + 1e-4).log().mean())


def test_accuracy_counts_the_largest() -> None:
    assert float(accuracy(torch.eye(3), LABELS)) == pytest.approx(1 / 3)
