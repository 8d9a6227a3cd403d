"""EE, and the plain DeiT on what continues, answer as each does alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from sacvit_deploy.benchmarks.contenders import CascadeContender, Contender
from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, noise
from sacvit_deploy.benchmarks.gpu_check.two_models import TwoModels, measure
from sacvit_deploy.benchmarks.plain_device import PlainOnDevice
from sacvit_deploy.images.prefetch import in_batches
from sacvit_deploy.item import Answer, Item


def answers(contender: Contender, images: Iterable[np.ndarray], batch: int) -> list[Answer]:
    items = (Item(str(number), image) for number, image in enumerate(images))
    return list(contender.answers(in_batches(items, batch), batch))


def test_each_image_gets_the_answer_of_the_model_that_saw_it_last(subject: Subject) -> None:
    images = list(noise(subject.config, 11))
    first = answers(CascadeContender(subject.cascade, 0.0, 1), images, 3)
    plain = answers(PlainOnDevice(subject.plain), images, 3)
    eta = float(np.median([answer.stage_one_probability for answer in first]))
    for batch in (1, 3, 11):
        found = answers(TwoModels(subject, eta), images, batch)
        assert {answer.stage for answer in found} == {1, 2}
        for one, exits, whole in zip(found, first, plain, strict=True):
            expected = exits if one.stage == 1 else whole
            np.testing.assert_allclose(one.probabilities, expected.probabilities, atol=1e-5)  # type: ignore[arg-type]
            assert (one.stage == 1) == (exits.stage_one_probability > eta)


def test_it_is_measured_beside_the_other_two(settings: Settings) -> None:
    rows = list(measure(dataclasses.replace(settings, batches=(4,))))
    assert [row["contender"] for row in rows] == ["cascade 23% fp32", "deit fp32", "EE then deit fp32"]
    assert {row["images put by"] for row in rows} == {"this thread"}
    # The images that continue go up twice.
    assert int(rows[2]["B up"] or 0) > int(rows[1]["B up"] or 0)
    assert float(rows[1]["ideal"] or 0) < float(rows[2]["ideal"] or 0) < float(rows[0]["ideal"] or 0)
