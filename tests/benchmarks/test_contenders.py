"""Contenders answer what their networks answer; how SaiT's adaptive mode counts and groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Pixels
from sacvit_deploy.benchmarks.baselines.store import Baselines
from sacvit_deploy.benchmarks.contenders import (
    CascadeContender,
    Contender,
    EngineContender,
    SaiTMass,
    classifier,
    counts_by_mass,
    group_by_count,
    threshold_for,
)
from sacvit_deploy.benchmarks.running import Feed, run_pass
from sacvit_deploy.benchmarks.threshold import eta_for, stage_one_probabilities
from sacvit_deploy.confidence import softmax
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.item import Item

SCORES = hnp.arrays(np.float32, (4, 12), elements=st.floats(min_value=2**-10, max_value=1, width=32))


@pytest.fixture(scope="module")
def images(model: SACViT, image_paths: list[Path]) -> list[Pixels]:
    found = [model.prepare(path).pixels for path in image_paths]
    assert all(pixels is not None for pixels in found)
    return found  # type: ignore[return-value]


def answers(contender: Contender, images: list[Pixels], batch: int) -> np.ndarray:
    items = [Item(str(number), pixels) for number, pixels in enumerate(images)]
    batches = (items[at : at + batch] for at in range(0, len(items), batch))
    found = list(contender.answers(batches, batch))
    assert [answer.item.source for answer in found] == [item.source for item in items]
    return np.stack([answer.probabilities for answer in found])


def test_the_cascade_answers_as_the_stream_does(model: SACViT, images: list[Pixels], image_paths: list[Path]) -> None:
    expected = [found.probabilities for found in model.stream(image_paths, batch_size=3, eta=0.6)]  # type: ignore[union-attr]
    np.testing.assert_allclose(answers(CascadeContender(model, 0.6, 24), images, 3), expected, atol=1e-6)


@pytest.fixture(scope="module")
def deit(model: SACViT) -> EngineContender:
    files = model.bundle.checked_files("fp32")
    return EngineContender(model.config.preprocessing, classifier(model.backend.open(files["deit"], files["weights"])))


@pytest.mark.parametrize("batch", [1, 3])
def test_sait_that_keeps_everything_is_the_plain_deit(
    model: SACViT, images: list[Pixels], baselines: Baselines, deit: EngineContender, batch: int
) -> None:
    preprocessing, files = model.config.preprocessing, baselines.files
    expected = answers(deit, images, batch)
    engines = {role: model.backend.open(path, files["weights"]) for role, path in files.items() if role != "weights"}
    fixed = EngineContender(preprocessing, classifier(engines["sait"], {"slots": np.arange(196)}))
    np.testing.assert_allclose(answers(fixed, images, batch), expected, atol=1e-5)
    adaptive = SaiTMass(preprocessing, engines["sait_head"], engines["sait_tail"], 1.0)
    np.testing.assert_allclose(answers(adaptive, images, batch), expected, atol=1e-5)


def test_one_at_a_time_each_image_keeps_its_own_count(
    model: SACViT, images: list[Pixels], baselines: Baselines
) -> None:
    files, preprocessing = baselines.files, model.config.preprocessing
    roles = ("sait_head", "sait_tail", "sait")
    head, tail, whole = (model.backend.open(files[role], files["weights"]) for role in roles)
    found = answers(SaiTMass(preprocessing, head, tail, 0.5), images, 1)
    for image, row in zip(images, found, strict=True):
        view = full_view([image], preprocessing)
        count = counts_by_mass(head.run({"image": view})["scores"], 0.5)[0]
        expected = softmax(whole.run({"image": view, "slots": np.arange(count)})["logits"])[0]
        np.testing.assert_allclose(row, expected, atol=1e-5)


@given(SCORES, st.floats(min_value=0.01, max_value=1))
def test_counts_hold_the_mass_and_no_token_less_does(scores: np.ndarray, threshold: float) -> None:
    for row, count in zip(scores.astype(np.float64), counts_by_mass(scores, threshold), strict=True):
        ordered = np.sort(row)[::-1]
        assert 1 <= count <= len(row)
        assert ordered[:count].sum() >= threshold * row.sum() * (1 - 1e-9)
        assert count == 1 or ordered[: count - 1].sum() < threshold * row.sum() * (1 + 1e-9)


@given(SCORES, st.floats(min_value=1, max_value=12))
def test_a_threshold_keeps_as_many_as_asked_for(scores: np.ndarray, mean: float) -> None:
    threshold = threshold_for(scores, mean)
    assert 0 <= threshold <= 1
    at, below = counts_by_mass(scores, threshold).mean(), counts_by_mass(scores, threshold - 1e-6).mean()
    assert below - 1e-9 <= mean <= at + 1e-9 or threshold == 1.0


@given(hnp.arrays(np.int64, st.integers(1, 40), elements=st.integers(1, 196)), st.integers(1, 9))
def test_groups_take_every_image_once_with_room_for_it(counts: np.ndarray, most: int) -> None:
    found = group_by_count(counts, most)
    assert sorted(np.concatenate([rows for rows, _ in found])) == list(range(len(counts)))
    for rows, kept in found:
        assert 1 <= len(rows) <= most
        assert counts[rows].max() == kept
    limits = [kept for _, kept in found]
    assert limits == sorted(limits)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50, unique=True), st.floats(0, 1))
def test_just_the_asked_share_continues(values: list[int], share: float) -> None:
    probabilities = np.array(values) / (10**6 + 1)
    eta = eta_for(probabilities, share)
    assert 0 <= eta <= 1
    going_on = ~(probabilities > eta) if share < 1 else np.ones(len(values), bool)
    if round(share * len(values)) > 0:
        assert going_on.sum() == round(share * len(values))
    else:
        assert eta == 0.0


def test_equal_probabilities_leave_no_eta() -> None:
    with pytest.raises(UsageError, match="several have the probability 0.5"):
        eta_for(np.array([0.5, 0.5]), 0.5)
    with pytest.raises(UsageError, match="between 0 and 1"):
        eta_for(np.array([0.5]), float("nan"))


def test_a_run_tells_what_happened(model: SACViT, images: list[Pixels]) -> None:
    probabilities = stage_one_probabilities(model, images, batch=2)
    eta = eta_for(probabilities, 3 / 7)
    truth = answers(CascadeContender(model, eta, 24), images, 2).argmax(axis=1)
    truth[0] += 1
    feed = Feed(7, lambda row: Item(str(row), images[row]), 1, truth)
    found = run_pass(CascadeContender(model, eta, 24), feed, 2)
    assert (found.continued, found.failed, found.right, found.joules) == (3, 0, 6, None)
    assert len(found.latencies) == 7
    assert 0 < max(found.latencies) <= found.seconds
    assert sum(found.steps.values()) <= found.seconds
    assert run_pass(CascadeContender(model, eta, 24), Feed(feed.count, feed.prepare, 2), 2).right is None
