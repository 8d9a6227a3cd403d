"""The public class on a real bundle: the same answers alone, in a batch and in a stream, whatever stands beside."""

from __future__ import annotations

import io
import itertools
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sacvit_deploy import BackendError, BundleError, ImageError, Prediction, SACViT, SacvitError, UsageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.images.decode import load_image
from sacvit_deploy.images.preprocess import fit

ETAS = (0.0, 0.5, 0.6, 0.82, 1.0)


def good(result: Prediction | SacvitError) -> Prediction:
    assert isinstance(result, Prediction), result
    return result


def assert_same(found: Prediction | SacvitError, expected: Prediction) -> None:
    found = good(found)
    assert (found.source, found.stage, found.label) == (expected.source, expected.stage, expected.label)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert found.stage_one_probability == pytest.approx(expected.stage_one_probability, abs=1e-5)
    assert (found.targets is None) == (expected.targets is None)
    if expected.targets is not None:
        np.testing.assert_array_equal(found.targets, expected.targets)


@pytest.fixture(scope="module")
def alone(model: SACViT, image_paths: list[Path]) -> dict[float, list[Prediction]]:
    """Every photograph's answer when it is asked for by itself, by eta."""
    return {eta: [model.predict(path, eta=eta) for path in image_paths] for eta in ETAS}


# --- against the reference


@pytest.mark.parametrize("alpha", [None, 0.3, 0.9])
def test_answers_are_the_references(
    model: SACViT, reference_model: ReferenceSACViT, image_paths: list[Path], alpha: float | None
) -> None:
    recipe = model.config.preprocessing
    pixels = np.stack([fit(load_image(path), 224, recipe) for path in image_paths])
    mean, std = torch.tensor(recipe.mean), torch.tensor(recipe.std)
    with torch.no_grad():
        expected = reference_model(((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2), alpha)
    first = [good(result) for result in model.predict_batch(image_paths, eta=0.0)]
    second = [good(result) for result in model.predict_batch(image_paths, eta=1.0, alpha=alpha)]
    np.testing.assert_allclose([p.probabilities for p in first], expected.ee.logits.softmax(1).numpy(), atol=1e-4)
    np.testing.assert_allclose([p.probabilities for p in second], expected.logits.softmax(1).numpy(), atol=1e-4)
    np.testing.assert_array_equal([p.targets for p in second], expected.targets.numpy())


def test_the_fixture_can_tell_the_stages_apart(alone: dict[float, list[Prediction]]) -> None:
    # Were both stages alike, or every picture equally sure, the tests below would show little.
    for eta in (0.6, 0.82):
        assert {p.stage for p in alone[eta]} == {1, 2}
    differences = [np.abs(a.probabilities - b.probabilities).max() for a, b in zip(alone[0.0], alone[1.0], strict=True)]
    assert min(differences) > 0.01
    assert any(a.label != b.label for a, b in zip(alone[0.0], alone[1.0], strict=True))


# --- alone, in a batch, in a stream


@pytest.mark.parametrize("eta", ETAS)
def test_batch_answers_as_each_picture_alone(
    model: SACViT, image_paths: list[Path], alone: dict[float, list[Prediction]], eta: float
) -> None:
    for found, expected in zip(model.predict_batch(image_paths, eta=eta), alone[eta], strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("workers", [1, 3])
def test_stream_answers_as_each_picture_alone(
    model: SACViT, image_paths: list[Path], alone: dict[float, list[Prediction]], batch_size: int, workers: int
) -> None:
    for eta in (0.6, 0.82):
        found = list(model.stream(iter(image_paths), batch_size=batch_size, eta=eta, workers=workers))
        for result, expected in zip(found, alone[eta], strict=True):
            assert_same(result, expected)


def test_exactly_one_of_a_batch_continues(model: SACViT, easy: Path, hard: Path) -> None:
    found = [good(result) for result in model.predict_batch([easy, hard, easy], eta=0.6)]
    assert [p.stage for p in found] == [1, 2, 1]
    for result, path in zip(found, (easy, hard, easy), strict=True):
        assert_same(result, model.predict(path, eta=0.6))


def test_bad_pictures_keep_their_place_and_cost_nobody(
    model: SACViT, image_paths: list[Path], alone: dict[float, list[Prediction]], tmp_path: Path
) -> None:
    half = tmp_path / "half.jpg"
    half.write_bytes(image_paths[3].read_bytes()[:4000])
    lazy = Image.open(io.BytesIO(half.read_bytes()))  # decoded, and found damaged, only in the worker
    bad: list[Any] = [tmp_path / "none.jpg", half, b"", np.zeros((0, 5), np.uint8), lazy, 7, "nul\0.jpg"]
    sources = [source for pair in zip(image_paths, bad, strict=True) for source in pair]
    for batch_size in (1, 2, 5, 64):
        found = list(model.stream(sources, batch_size=batch_size, eta=0.6))
        assert len(found) == 14
        for result, expected in zip(found[::2], alone[0.6], strict=True):
            assert_same(result, expected)
        assert all(isinstance(result, ImageError) for result in found[1::2]), found[1::2]


def test_only_bad_pictures(model: SACViT) -> None:
    found = list(model.stream([b"x"] * 5, batch_size=2))
    assert [type(result) for result in found] == [ImageError] * 5


def test_nothing_asked_nothing_answered(model: SACViT) -> None:
    assert model.predict_batch([]) == []
    assert list(model.stream([])) == []


def test_bad_picture_alone_is_raised(model: SACViT, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg does not exist"):
        model.predict(tmp_path / "none.jpg")


# --- laziness


def test_stream_reads_ahead_only_so_far(model: SACViT, image_paths: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        for path in itertools.cycle(image_paths):
            taken += 1
            yield path

    for workers in (1, 2):
        taken = 0
        stream = model.stream(endless(), batch_size=4, eta=0.6, workers=workers)
        assert taken == 0  # nothing before the first answer is asked for
        for given in range(1, 60):
            good(next(stream))
            # Two batches are decoded ahead, one runs, one may wait for stage 2, and eight of patience.
            assert taken - given <= (2 + 1 + 1 + 8) * 4
        stream.close()


def test_exits_behind_one_continuing_picture_still_flow(model: SACViT, easy: Path, hard: Path) -> None:
    taken = 0

    def one_hard_then_easy() -> Iterator[Path]:
        nonlocal taken
        for path in itertools.chain([hard], itertools.repeat(easy)):
            taken += 1
            yield path

    stream = model.stream(one_hard_then_easy(), batch_size=4, eta=0.6, workers=1)
    assert good(next(stream)).stage == 2
    # It waited for a whole batch of continuing pictures, but not forever.
    assert 4 < taken <= (8 + 2) * 4
    assert [good(next(stream)).stage for _ in range(50)] == [1] * 50
    stream.close()


def decoders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sacvit-decode")]


def assert_no_decoders() -> None:
    deadline = time.monotonic() + 60
    while decoders() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert decoders() == []


def test_closed_stream_leaves_no_threads(model: SACViT, image_paths: list[Path]) -> None:
    stream = model.stream(itertools.cycle(image_paths), batch_size=2, workers=3)
    good(next(stream))
    assert decoders()
    stream.close()
    assert_no_decoders()


def test_dropped_and_finished_streams_leave_no_threads(model: SACViT, image_paths: list[Path]) -> None:
    for result in model.stream(itertools.cycle(image_paths), batch_size=2, workers=3):
        good(result)
        break
    assert_no_decoders()
    assert len(list(model.stream(image_paths, batch_size=2, workers=3))) == 7
    assert_no_decoders()


def test_error_in_the_callers_iterable_reaches_the_caller(model: SACViT, image_paths: list[Path]) -> None:
    def failing() -> Iterator[Path]:
        yield image_paths[0]
        raise RuntimeError("the camera is gone")

    with pytest.raises(RuntimeError, match="the camera is gone"):
        list(model.stream(failing(), workers=2))
    assert_no_decoders()


# --- the SAC engine is opened when it is needed


def test_sac_engine_is_opened_by_the_first_continuing_picture(
    tiny_bundle: Path, image_paths: list[Path], easy: Path, hard: Path
) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1)
    assert not model.cascade.sac_opened
    model.predict_batch(image_paths, eta=0.0)
    model.predict(easy, eta=0.6)
    assert not model.cascade.sac_opened
    assert model.predict(hard, eta=0.6).stage == 2
    assert model.cascade.sac_opened


def test_threads_get_the_same_answers(
    tiny_bundle: Path, image_paths: list[Path], alone: dict[float, list[Prediction]]
) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1)  # fresh: the SAC engine is opened under contention

    def ask(number: int) -> Prediction:
        return model.predict(image_paths[number % 7], eta=0.6)

    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(ask, range(42))):
            assert_same(found, alone[0.6][number % 7])


def test_two_streams_at_once(model: SACViT, image_paths: list[Path], alone: dict[float, list[Prediction]]) -> None:
    first = model.stream(image_paths, batch_size=2, eta=0.6)
    second = model.stream(image_paths, batch_size=3, eta=0.82)
    for one, two, expect_one, expect_two in zip(first, second, alone[0.6], alone[0.82], strict=True):
        assert_same(one, expect_one)
        assert_same(two, expect_two)


# --- sources


def test_every_kind_of_source_gives_the_same_answer(model: SACViT, image_paths: list[Path]) -> None:
    path = image_paths[2]
    opened = Image.open(path)
    array = np.asarray(opened.convert("RGB"))
    expected = model.predict(path, eta=1.0)
    opaque = np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])
    for source in (str(path), path.read_bytes(), opened, array, opaque):
        found = model.predict(source, eta=1.0)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
        np.testing.assert_array_equal(found.targets, expected.targets)
    assert expected.source == str(path)
    assert model.predict(array).source == "<ndarray>"


def test_grey_arrays_give_the_same_answer(model: SACViT, image_paths: list[Path]) -> None:
    grey = np.asarray(Image.open(image_paths[2]).convert("L"))
    expected = model.predict(grey, eta=1.0).probabilities
    for source in (grey[:, :, None], grey[:, :, None].repeat(3, axis=2), Image.fromarray(grey)):
        np.testing.assert_array_equal(model.predict(source, eta=1.0).probabilities, expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2, 2), (4000, 3000)])
def test_any_size_of_picture_is_answered(model: SACViT, shape: tuple[int, int]) -> None:
    # An array of one row may be C x H x W, an image is never.
    found = model.predict(Image.fromarray(np.full((*shape, 3), 77, np.uint8)), eta=1.0)
    assert found.stage == 2
    assert found.probabilities.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "array", [np.full((8, 8, 3), 77, np.float32), np.zeros((8, 8, 5), np.uint8), np.zeros((0, 8, 3), np.uint8)]
)
def test_arrays_that_are_no_picture_are_refused(model: SACViT, array: Any) -> None:
    with pytest.raises(ImageError):
        model.predict(array)


# --- arguments


@pytest.mark.parametrize("eta", [-0.1, 1.0001, math.nan, math.inf])
def test_eta_out_of_range(model: SACViT, image_paths: list[Path], eta: float) -> None:
    for ask in (model.predict_batch, model.stream):
        with pytest.raises(UsageError, match="eta is"):
            ask([image_paths[0]], eta=eta)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, 2.0, 0.01, math.nan])
def test_alpha_out_of_range(model: SACViT, image_paths: list[Path], alpha: float) -> None:
    for ask in (model.predict_batch, model.stream):
        with pytest.raises(UsageError, match="alpha"):
            ask([image_paths[0]], alpha=alpha)


def test_batch_size_and_workers_out_of_range(model: SACViT) -> None:
    for arguments in ({"batch_size": 0}, {"batch_size": -1}, {"workers": 0}):
        with pytest.raises(UsageError, match="at least 1"):
            model.stream([], **arguments)


@pytest.mark.parametrize("alpha", [0.03, 0.3, 0.7, 0.97])
def test_alpha_sets_the_number_of_targets(model: SACViT, image_paths: list[Path], alpha: float) -> None:
    found = model.predict(image_paths[2], eta=1.0, alpha=alpha)
    assert found.targets is not None
    assert len(found.targets) == math.floor(alpha * 49)
    assert found.targets.tolist() == sorted(set(found.targets.tolist()))


def test_defaults_are_the_bundles(model: SACViT, easy: Path, hard: Path) -> None:
    assert model.bundle.manifest.eta == 0.6
    for path in (easy, hard):
        assert_same(model.predict(path), model.predict(path, eta=0.6, alpha=0.5))


def test_half_precision_answers_nearly_the_same(tiny_bundle: Path, image_paths: list[Path], alone: Any) -> None:
    model = SACViT(tiny_bundle, precision="fp16", threads=1)
    assert model.precision == "fp16"
    for eta in (0.0, 1.0):
        for found, expected in zip(model.predict_batch(image_paths, eta=eta), alone[eta], strict=True):
            assert good(found).label == expected.label
            np.testing.assert_allclose(good(found).probabilities, expected.probabilities, atol=0.02)


def test_precision_that_is_not_there(tiny_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"it has fp32, fp16"):
        SACViT(tiny_bundle, precision="int8")
    for precision in ("fp64", ""):
        with pytest.raises(UsageError, match=r"unknown precision .* auto, fp32, fp16, int8"):
            SACViT(tiny_bundle, precision=precision)


def test_backend_that_is_not_there(tiny_bundle: Path) -> None:
    with pytest.raises(BackendError, match="NonsenseExecutionProvider"):
        SACViT(tiny_bundle, device="NonsenseExecutionProvider")
    with pytest.raises(UsageError, match="unknown backend 'nonsense'"):
        SACViT(tiny_bundle, backend="nonsense")


def test_impossible_threads_and_weights(tiny_bundle: Path) -> None:
    for arguments in ({"threads": 0}, {"threads": -2}, {"weights": "folded"}):
        with pytest.raises(UsageError, match=next(iter(arguments))):
            SACViT(tiny_bundle, **arguments)


def test_mapped_weights_answer_the_same(tiny_bundle: Path, image_paths: list[Path], alone: Any) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1, weights="mapped")
    for found, expected in zip(model.predict_batch(image_paths, eta=0.6), alone[0.6], strict=True):
        assert_same(found, expected)


# --- what an answer says


def test_prediction_of_an_exit_and_of_a_second_look(model: SACViT, easy: Path, hard: Path) -> None:
    early, late = model.predict(easy, eta=0.6), model.predict(hard, eta=0.6)
    assert (early.stage, early.targets, early.target_mask) == (1, None, None)
    assert early.probability == pytest.approx(early.stage_one_probability, abs=1e-6)
    assert late.target_mask is not None
    assert late.target_mask.shape == (7, 7)
    np.testing.assert_array_equal(np.flatnonzero(late.target_mask), late.targets)
    steps = {"decode", "preprocess", "view", "ee", "gate"}
    assert (set(early.timing), set(late.timing)) == (steps, steps | {"gather", "sac", "answer"})
    for found in (early, late):
        assert all(seconds >= 0 for seconds in found.timing.values())
        assert found.probabilities.shape == (10,)
        assert found.probabilities.dtype == np.float32
        assert found.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        assert found.label == found.labels[found.index] == f"thing {found.probabilities.argmax()}"
        top = found.topk(3)
        assert top[0] == (found.label, found.probability)
        assert [p for _, p in top] == sorted(found.probabilities.tolist(), reverse=True)[:3]
        assert len(found.topk(99)) == 10
        said = found.to_dict(2)
        assert said["label"] == found.label
        assert [entry["label"] for entry in said["topk"]] == [label for label, _ in found.topk(2)]
        assert said["targets"] == (None if found.targets is None else found.targets.tolist())
