"""CF-ViT's and LF-ViT's methods; LF-ViT's second stage against its own forward pass."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.config import Geometry, Method, ModelConfig
from sacvit_deploy.export.families import two_table_method
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.export.reference import normalised, shipped_images
from sacvit_deploy.verification.parity import measure_parity

from .conftest import Exported
from .making import cf_vit_weights, images_for
from .test_checkpoint import CFViT


class LFViT(CFViT):
    """LF-ViT's forward pass as its authors describe it (Hu et al., AAAI 2024), inference only: layers are CF-ViT's."""

    side = 5

    def __call__(self, image: Tensor, alpha: float = 0.88, beta: float = 0.99) -> tuple[Tensor, Tensor, Tensor]:
        half = image.shape[2] // 2
        x = embedding = self.tokens(F.interpolate(image, size=(half, half), mode="bilinear", align_corners=True), 0)
        average = torch.zeros(())
        for i in range(self.depth):
            x, attention = self.block(i, x)
            if i >= self.depth // 4:
                average = beta * average + (1 - beta) * attention
        x = self.norm("norm", x)
        first_logits, scores = self.linear("head", x[:, 0]), average.mean(dim=1)[:, 0, 1:]
        reused = self.mlp("reuse_block.1", self.norm("reuse_block.0", x[:, 1:]))
        fine, grid = self.tokens(image, 1), math.isqrt(scores.shape[1])
        answers, chosen = [], []
        for row in range(len(image)):  # one image after the other
            targets = self.region(scores[row], grid, alpha)
            rows = [fine[row, 0]]
            for target in targets:
                first = 4 * target - 2 * (target % grid)
                for child in (first, first + 1, first + 2 * grid, first + 2 * grid + 1):
                    rows.append(fine[row, 1 + child] + reused[row, target])
            rows += [embedding[row, 1 + token] for token in range(grid**2) if token not in targets]
            tokens = torch.stack(rows)[None]
            for i in range(self.depth):
                tokens, _ = self.block(i, tokens)
            answers.append(self.linear("head", self.norm("norm", tokens)[:, 0]))
            chosen.append(sorted(targets))
        return first_logits, torch.tensor(chosen), torch.cat(answers)

    def region(self, scores: Tensor, grid: int, alpha: float) -> list[int]:
        """Return the highest tokens of the square region with the highest sum of class attention."""
        corners = [row * grid + column for row in range(grid - 4) for column in range(grid - 4)]
        regions = [
            [corner + grid * down + right for down in range(self.side) for right in range(self.side)]
            for corner in corners
        ]
        best = max(regions, key=lambda region: scores[region].sum().item())
        order = torch.argsort(scores[best], descending=True)[: math.ceil(alpha * self.side**2)]
        return [best[at] for at in order]


@pytest.mark.parametrize("alpha", [0.88, 1.0])
@pytest.mark.parametrize(("size", "depth", "width"), [(224, 4, 64), (288, 2, 128)])
def test_an_lf_vit_answers_exactly(size: int, depth: int, width: int, alpha: float) -> None:
    weights = cf_vit_weights(size, width, depth)
    model = ReferenceSACViT(ModelConfig(Geometry(size, 16, width, depth, width // 64, 5), two_table_method("lf-vit")))
    model.eval().load_state_dict(weights)
    images = images_for(model.config, count=4)
    with torch.no_grad():
        outputs = model(images, alpha)
        first, targets, second = LFViT(weights, depth, width // 64)(images, alpha)
    assert targets.shape == (4, math.ceil(alpha * 25))
    assert len(torch.unique(targets, dim=0)) > 1
    assert torch.equal(outputs.targets, targets)
    assert (outputs.ee.logits - first).abs().max() <= 1e-5 * first.abs().max()
    assert (outputs.logits - second).abs().max() <= 1e-5 * second.abs().max()


def test_an_lf_vit_bundle_answers_like_lf_vit_itself(exports: Callable[[str], Exported]) -> None:
    """From an independent forward pass to the engines, the glue and the runtime."""
    exported = exports("lf-vit-288")
    images = normalised(exported.golden.images, exported.config)
    weights = exported.model.state_dict()
    with torch.no_grad():
        first, targets, second = LFViT(weights, 2, 2)(images)
    golden = dataclasses.replace(
        exported.golden,
        ee_logits=first.numpy(),
        alphas=(0.88,),
        targets=(targets.numpy(),),
        sac_logits=(second.numpy(),),
    )
    parity = measure_parity(exported.cascade("fp32"), golden, "fp32", (1, 7))
    assert parity.passed, parity.summary()
    assert all(case.overlap == 1.0 for case in parity.cases)
    answers = SACViT(exported.bundle.path, threads=1).predict_batch(shipped_images(), eta=1.0)
    for answer, row in zip(answers, range(7, 14), strict=True):
        assert isinstance(answer, Prediction) and answer.targets is not None
        assert answer.targets.tolist() == targets[row].tolist()
        np.testing.assert_allclose(answer.probabilities, second[row].softmax(0).numpy(), atol=1e-5)


def test_the_default_alpha_of_lf_vit_is_the_published_one() -> None:
    config = ModelConfig(method=two_table_method("lf-vit"))
    assert (config.window, config.num_targets()) == (25, 22)


def test_cf_vit_selects_among_all_tokens() -> None:
    method = two_table_method("cf-vit")
    expected = Method(downsample="bilinear_corners", positions="separate", rounding="ceil", attention="global")
    assert method == expected
    assert ModelConfig(method=method).window is None
