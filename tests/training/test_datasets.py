"""Steps that the data sets share: rows of an epoch, colour jitter."""

from __future__ import annotations

import numpy as np
import torch

from sacvit_deploy.training.datasets import jitter, rows_of


def test_every_epoch_sees_every_row_once() -> None:
    epochs = [np.concatenate([rows_of(0, epoch * 5 + step, 20, 4) for step in range(5)]) for epoch in range(2)]
    assert all(sorted(rows) == list(range(20)) for rows in epochs)
    assert not np.array_equal(epochs[0], epochs[1])


def test_jitter_is_bounded_and_differs_between_images() -> None:
    image = torch.ones(4, 3, 2, 2)
    out = jitter(image, np.random.default_rng(0))
    assert (out - 1).abs().max() <= 0.3 + 1e-6
    assert len(set(out[:, 0, 0, 0].tolist())) == 4
