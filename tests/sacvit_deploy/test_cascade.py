"""Both stages on the same images, as evaluation, parity and comparison run them."""

from __future__ import annotations

import numpy as np

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.confidence import softmax
from sacvit_deploy.geometry import num_targets
from tests.data import record


def test_run_both_answers_as_the_runtime_does_when_everything_continues() -> None:
    model = SACViT(record.BEFORE, backend="onnxruntime", precision="fp32", threads=1)
    sources = record.TINY_IMAGES[:5]
    images = [item.pixels for item in map(model.prepare, sources) if item.pixels is not None]
    alphas = (0.3, 0.7)
    counts = [num_targets(alpha, model.config.geometry.tokens) for alpha in alphas]
    both = model.cascade.run_both(images, counts)
    for alpha, result in zip(alphas, both.sac, strict=True):
        for row, answer in enumerate(model.predict_batch(sources, eta=1.0, alpha=alpha)):
            assert isinstance(answer, Prediction)
            np.testing.assert_array_equal(result.targets[row], answer.targets)
            np.testing.assert_array_equal(softmax(result.logits)[row].astype(np.float32), answer.probabilities)
    # Given targets are taken as they are, another model's too.
    again = model.cascade.run_both(images, [both.sac[0].targets])
    np.testing.assert_array_equal(again.sac[0].logits, both.sac[0].logits)
