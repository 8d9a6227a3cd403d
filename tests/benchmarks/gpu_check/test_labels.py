"""Labels are compared image by image, and a difference is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.labels import BATCHES, answer, compare, load, measure
from sacvit_deploy.errors import OutputError

PICTURES = Path(__file__).parents[3] / "examples/pictures"


def test_the_cpu_as_a_device_answers_as_the_cpu(settings: Settings) -> None:
    rows = list(measure(dataclasses.replace(settings, precision="fp16", pictures=PICTURES)))
    assert [row["batch"] for row in rows] == [batch for _ in range(2) for batch in BATCHES for _ in range(2)] + [
        "4 threads"
    ]
    for row in rows:
        assert row["images"] == 8 + len(list(PICTURES.iterdir()))
        if row["precision"] == "fp32":
            assert row["labels equal"] == row["stages equal"] == row["images"] and row["unsure"] == 0
            assert row["targets equal"] == row["continued"]
        if row["eta"] == 1.0:
            assert row["continued"] == row["images"]


def test_a_variant_that_is_not_there(settings: Settings) -> None:
    rows = list(measure(dataclasses.replace(settings, precision="fp8")))
    assert "has no such variant" in str(rows[0]["not run"])
    assert {row["precision"] for row in rows[1:]} == {"fp32"}


def test_differences_are_counted(settings: Settings) -> None:
    model = SACViT(settings.example, precision="fp32", threads=1)
    images, count = load(model, settings), model.config.num_targets()
    expected, found = (answer(model, images, 1.0, count, 3) for _ in range(2))
    assert found[0].probabilities is not None and found[1].targets is not None
    best, lead = np.argmax(found[0].probabilities), np.diff(np.sort(found[0].probabilities)[-2:])[0]
    found[0].probabilities = np.roll(found[0].probabilities, 1)
    found[1].targets = found[1].targets[::-1]
    found[2].probabilities, found[2].error = None, OutputError("overflow")
    found[3].stage = 1
    row = compare(found, expected)
    assert np.argmax(expected[0].probabilities) == best  # type: ignore[arg-type]
    assert (row["labels equal"], row["stages equal"], row["targets equal"]) == (6, 7, 7)
    assert float(row["unsure"] or 0) >= lead > 0
    assert float(row["worst probability"] or 0) > 0
