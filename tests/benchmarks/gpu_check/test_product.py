"""The product's path: who is measured, how many continue, what crosses the bus."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.product import (
    gated,
    images_of_a_pass,
    measure,
    measure_plain_layout,
    measure_recorded,
    plain,
)
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, noise
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.images.prefetch import in_batches
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.item import Item
from sacvit_deploy.stages.device import DeviceStages


def test_rows_and_the_bytes_that_cross(settings: Settings) -> None:
    config = open_bundle(settings.speed).manifest.config
    rows = list(measure(settings))
    assert [(row["batch"], row["contender"]) for row in rows] == [
        (4, "cascade 23% fp32"),
        (4, "deit fp32"),
        *((1, name) for name in ("cascade 23% fp32", "cascade 0% fp32", "cascade 100% fp32", "deit fp32")),
    ]
    pictures, logits = 3 * config.geometry.image_size**2, 4 * config.geometry.classes
    targets = 8 * config.num_targets()
    for row in rows:
        name, continuing = str(row["contender"]), row["continuing"]
        count = images_of_a_pass(settings, int(row["batch"] or 0))
        if "deit" in name:
            assert (row["B up"], row["B down"], continuing, row["ratio"]) == (pictures, logits, None, None)
            continue
        share = float(name.split()[1].removesuffix("%")) / 100
        assert continuing == round(share * count) / count
        assert row["B down"] == round(logits + continuing * (logits + targets))
        assert pictures <= int(row["B up"] or 0) < pictures + 8 * (3 * config.geometry.tokens + count)
        assert float(row["low"] or 0) <= float(row["ratio"] or 0) <= float(row["high"] or 0)
        assert row["failed"] == 0 and row["images put by"] == "2 threads"


def test_threads_put_images_where_the_device_reads_them(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a stream's do: the thread that runs the stages copies none, and the answers are the same."""
    copied: list[int] = []
    copy = DeviceStages._stacked

    def watched(stages: DeviceStages, images: Sequence[InputImage], slot: int, rows: int) -> Pixels:
        copied.append(len(images))
        return copy(stages, images, slot, rows)

    monkeypatch.setattr(DeviceStages, "_stacked", watched)
    images = list(noise(subject.config, 11))
    found = {}
    for workers, expected in ((1, [4, 4, 3]), (2, [])):
        for entry in (gated(subject, 0.5, 0.5, workers), plain(subject, workers)):
            items = [Item(str(number), image) for number, image in enumerate(images)]
            answers = list(entry.contender.answers(in_batches(items, 4), 4))
            assert [answer.item.source for answer in answers] == [item.source for item in items]
            found[workers, entry.name] = np.stack([answer.probabilities for answer in answers])
            assert copied == expected
            copied.clear()
    for name in ("cascade", "deit"):
        np.testing.assert_array_equal(found[1, name], found[2, name])


def test_the_layout_for_no_gpu_is_measured_alike(settings: Settings) -> None:
    names = ("cascade 23% fp32", "deit fp32")
    found = [(row["batch"], row["contender"]) for row in measure_plain_layout(settings)]
    assert found == [(batch, name) for batch in (4, 1) for name in names]


def test_recorded_calls_are_measured_alike(settings: Settings) -> None:
    found = [(row["batch"], row["contender"]) for row in measure_recorded(settings)]
    assert found == [(1, name) for name in ("cascade 23% fp32", "deit fp32")]


def test_a_pass_has_several_batches_and_23_percent() -> None:
    from tests.data import record

    settings = Settings("cuda", "fp16", record.BEFORE, record.BEFORE)
    for batch in settings.batches:
        count = images_of_a_pass(settings, batch)
        assert count % batch == 0 and count >= 128 and count // batch >= 5


def test_a_batch_that_fails_costs_only_itself(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of equal images no share can be made to continue."""
    from sacvit_deploy.benchmarks.gpu_check import product

    monkeypatch.setattr(product, "noise", lambda config, count: np.zeros((count, 64, 64, 3), np.uint8))
    rows = list(measure(dataclasses.replace(settings, batches=(4,))))
    assert [row["contender"] for row in rows] == ["not run"] and "several have the probability" in str(rows[0]["why"])
