"""The example images, as a first look at the demo shows them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch

from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.export.reference import normalised
from sacvit_deploy.images.decode import load_image
from sacvit_deploy.images.preprocess import fit

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_first_dozen_is_answered_right_by_both_stages() -> None:
    checkpoint = load_checkpoint(EXAMPLES / "model.safetensors")
    config = checkpoint.model.config
    with (EXAMPLES / "truth.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:12]
    sources = [load_image(EXAMPLES / "pictures" / row["file"]) for row in rows]
    images = np.stack([fit(source, config.geometry.image_size, config.preprocessing) for source in sources])
    with torch.no_grad():
        out = checkpoint.model(normalised(images, config))
    first, second = out.ee.logits.softmax(1).max(1), out.logits.argmax(1)
    exits = first.values > checkpoint.eta
    answers = torch.where(exits, first.indices, second).tolist()
    assert [checkpoint.labels[answer] for answer in answers] == [row["label"] for row in rows]
    assert exits.any() and not exits.all()
