"""The two stages by themselves: together they answer as SACViT does, however a request gets from one to the other."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy import (
    BackendError,
    ImageError,
    OutputError,
    Prediction,
    RequestError,
    SACViT,
    StageOne,
    StageTwo,
    StageTwoRequest,
    UsageError,
)
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.opened import Opening
from sacvit_deploy.stage_one import StageOneResult
from sacvit_deploy.stage_two import both_stages
from tests.data import record
from tests.soak.answers import TOLERANCE

BUNDLE = record.ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((record.ROOT / "examples/pictures").iterdir())
WHITE = np.full((224, 224, 3), 255, dtype=np.uint8)
CROSSINGS: dict[str, Callable[[StageTwoRequest], StageTwoRequest | bytes]] = {
    "as it is": lambda request: request,
    "bytes": StageTwoRequest.to_bytes,
    "read bytes": lambda request: StageTwoRequest.from_bytes(memoryview(request.to_bytes())),
    "pickle": lambda request: pickle.loads(pickle.dumps(request)),
}


@pytest.fixture(scope="module")
def stages() -> tuple[StageOne, StageTwo]:
    return StageOne(BUNDLE, threads=1), StageTwo(BUNDLE, threads=1)


@pytest.fixture(scope="module")
def whole() -> SACViT:
    return SACViT(BUNDLE, threads=1)


def finished(two: StageTwo, results: list[StageOneResult], cross: str = "as it is") -> list[object]:
    """Put stage 2's answers into the requests' places."""
    crossed = [CROSSINGS[cross](result) if isinstance(result, StageTwoRequest) else result for result in results]
    return list(two.predict_batch(crossed))


def assert_same(found: object, expected: object) -> None:
    """Check everything but the times; in other batches, probabilities differ by what rounding does."""
    assert isinstance(found, Prediction) and isinstance(expected, Prediction), (found, expected)
    told, known = (
        (answer.source, answer.label, answer.stage, answer.labels, answer.grid) for answer in (found, expected)
    )
    assert told == known
    assert (found.targets is None) == (expected.targets is None)
    if found.targets is not None:
        np.testing.assert_array_equal(found.targets, expected.targets)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=TOLERANCE)
    assert abs(found.stage_one_probability - expected.stage_one_probability) < TOLERANCE


@pytest.mark.parametrize("cross", CROSSINGS)
def test_together_they_answer_as_the_model_does(cross: str, stages: tuple[StageOne, StageTwo], whole: SACViT) -> None:
    one, two = stages
    results = one.predict_batch(PICTURES)
    assert sum(isinstance(result, StageTwoRequest) for result in results) == 15
    for found, expected in zip(finished(two, results, cross), whole.predict_batch(PICTURES), strict=True):
        assert_same(found, expected)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)  # type: ignore[attr-defined,union-attr]


@pytest.mark.parametrize(("eta", "alpha"), [(0.0, None), (1.0, 0.1), (0.9, 0.7)])
def test_eta_and_alpha(eta: float, alpha: float | None, stages: tuple[StageOne, StageTwo], whole: SACViT) -> None:
    one, two = stages
    results = one.predict_batch(PICTURES[:6], eta=eta, alpha=alpha)
    for found, expected in zip(
        finished(two, results, "bytes"), whole.predict_batch(PICTURES[:6], eta=eta, alpha=alpha), strict=True
    ):
        assert_same(found, expected)


def test_each_opens_its_own_engine_and_no_other(stages: tuple[StageOne, StageTwo]) -> None:
    one, two = stages
    finished(two, one.predict_batch(PICTURES[:2], eta=1.0))
    assert [list(stage.opened.cascade._engines) for stage in stages] == [["ee"], ["sac"]]
    assert all(not stage.opened.cascade._files for stage in stages)  # nor are weights held for the other


def test_they_pickle_by_opening_the_bundle_again(stages: tuple[StageOne, StageTwo], whole: SACViT) -> None:
    one, two = (pickle.loads(pickle.dumps(stage)) for stage in stages)
    assert_same(finished(two, one([PICTURES[3]], eta=1.0))[0], whole.predict(PICTURES[3], eta=1.0))
    assert (one.variant, two.labels, one.eta) == (stages[0].variant, whole.labels, whole.eta)
    shared = [pickle.loads(pickle.dumps(stage)) for stage in both_stages(BUNDLE, threads=1, max_pixels=10_000)]
    assert isinstance(shared[0]([PICTURES[2]])[0], ImageError)  # its options came along
    assert [list(stage.opened.cascade._engines) for stage in shared] == [["ee"], ["sac"]]


@pytest.mark.parametrize("stage", [StageOne, StageTwo])
def test_a_pickle_has_every_argument(stage: type[StageOne] | type[StageTwo]) -> None:
    arguments = list(inspect.signature(stage).parameters)
    assert arguments == ["bundle", *stage.options]
    keywords = stage.sharing(BUNDLE, None, Opening(decode="gpu")).__reduce__()[0].keywords  # type: ignore[arg-type]
    assert keywords.get("decode") == ("gpu" if stage is StageOne else None)


def test_empty_batches_and_batches_of_nothing_good(stages: tuple[StageOne, StageTwo]) -> None:
    one, two = stages
    assert one.predict_batch([]) == [] and two.predict_batch([]) == []
    bad: list[ImageSource] = [b"no picture", "none.jpg"]
    results = one.predict_batch(bad)
    assert [type(result) for result in results] == [ImageError, ImageError]
    assert two.predict_batch([results[0], b"", results[1]])[::2] == results  # type: ignore[list-item]


def test_a_bad_image_or_request_costs_the_others_nothing(stages: tuple[StageOne, StageTwo], whole: SACViT) -> None:
    one, two = stages
    results = one.predict_batch([b"no picture", PICTURES[0], "none.jpg", PICTURES[1]], eta=1.0)
    assert [type(result) for result in results[::2]] == [ImageError, ImageError]
    good = results[1]
    assert isinstance(good, StageTwoRequest)
    raw = good.to_bytes()
    answers = two.predict_batch([raw[:-1], raw, b"pickle", results[3], results[0]])  # type: ignore[list-item]
    assert [type(answer) for answer in answers[::2]] == [RequestError, RequestError, ImageError]
    assert [answer.position for answer in answers] == [0, 1, 2, 3, 0]  # an error keeps the place it got from stage 1
    assert_same(answers[1], whole.predict(PICTURES[0], eta=1.0))
    assert_same(answers[3], whole.predict(PICTURES[1], eta=1.0))


def test_requests_of_several_alphas_in_one_batch(stages: tuple[StageOne, StageTwo], whole: SACViT) -> None:
    one, two = stages
    alphas = (0.5, 0.2, 0.5, 0.8)
    requests = [one([path], eta=1.0, alpha=alpha)[0] for path, alpha in zip(PICTURES, alphas, strict=False)]
    for path, alpha, answer in zip(PICTURES, alphas, two.predict_batch(requests), strict=False):  # type: ignore[arg-type]
        expected = whole.predict(path, eta=1.0, alpha=alpha)
        assert_same(answer, expected)


def test_an_engine_that_fails_at_one_of_several_alphas(
    monkeypatch: pytest.MonkeyPatch, stages: tuple[StageOne, StageTwo]
) -> None:
    one, two = stages
    requests = [one.predict_batch([PICTURES[0]], eta=1.0, alpha=alpha)[0] for alpha in (0.3, 0.9, 0.3, 0.9)]
    cascade, most = two.opened.cascade, one.config.num_targets(0.3)
    real = cascade.stage_two

    def limited(inputs: dict[str, Any]) -> Any:  # as a plan is
        if inputs["target_features"].shape[1] > most:
            raise BackendError("the plan takes fewer targets")
        return real(inputs)

    monkeypatch.setattr(cascade, "stage_two", limited)
    answers = two.predict_batch(requests)
    assert [type(answer) for answer in answers] == [Prediction, BackendError] * 2
    assert str(answers[3]) == f"{PICTURES[0]}: the plan takes fewer targets"
    assert [getattr(answers[row], "position", None) for row in (1, 3)] == [1, 3]
    with pytest.raises(BackendError, match="^the plan takes fewer targets"):
        two.predict_batch(requests[1::2])  # where no call succeeds


def test_an_engine_that_fails_at_one_of_several_calls_of_stage_one(
    monkeypatch: pytest.MonkeyPatch, stages: tuple[StageOne, StageTwo]
) -> None:
    one, _ = stages
    items = one.prepare_batch([PICTURES[0], b"no picture", PICTURES[1]])
    cascade, calls = one.opened.cascade, []
    real = cascade.stage_one

    def second_fails(low: Any) -> Any:
        calls.append(len(low))
        if len(calls) == 2:
            raise BackendError("the device is lost")
        return real(low)

    monkeypatch.setattr(cascade, "stage_one", second_fails)
    results = one.run_each(items, np.ones(3), [10, 20, 20])
    assert [type(result) for result in results] == [StageTwoRequest, ImageError, BackendError]
    assert str(results[2]) == f"{PICTURES[1]}: the device is lost"


def test_prepared_images_and_an_array_of_them(stages: tuple[StageOne, StageTwo], whole: SACViT) -> None:
    one, two = stages
    prepared = pickle.loads(pickle.dumps([one.prepare(path) for path in [*PICTURES[:4], Path("none.jpg")]]))
    for _ in range(2):  # they may be given again
        results = finished(two, one(prepared))
        assert isinstance(results[4], ImageError)
        for found, expected in zip(results[:4], whole.predict_batch(PICTURES[:4]), strict=True):
            assert_same(found, expected)
    bgr = np.random.default_rng(5).integers(0, 256, (2, 60, 80, 3), dtype=np.uint8)
    for found, expected in zip(
        finished(two, one(bgr, channels="bgr")), whole.predict_batch(bgr, channels="bgr"), strict=True
    ):
        assert_same(found, expected)


def test_scaled_decoding_is_the_models(whole: SACViT) -> None:
    large = [path for path in PICTURES if path.name.endswith("large.jpg")][:3]
    one, two = StageOne(BUNDLE, threads=1, scaled=True), StageTwo(BUNDLE, threads=1)
    scaled = SACViT(BUNDLE, threads=1, scaled=True)
    for found, expected in zip(finished(two, one(large, eta=1.0)), scaled.predict_batch(large, eta=1.0), strict=True):
        assert_same(found, expected)


def test_wrong_arguments(stages: tuple[StageOne, StageTwo]) -> None:
    one, _ = stages
    for wrong in ({"eta": 1.5}, {"alpha": 2.0}, {"channels": "grb"}):
        with pytest.raises(UsageError):
            one.predict_batch(PICTURES[:1], **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="one image"):
        one.predict_batch(PICTURES[0])  # type: ignore[arg-type]


def test_a_closed_stage_says_so() -> None:
    with StageTwo(BUNDLE, threads=1) as two:
        assert two.precision == "int8"
    with pytest.raises(UsageError, match="was closed.*StageTwo"):
        two.predict_batch([])


def test_another_precision_or_bundle_is_refused(tmp_path: Path) -> None:
    one = StageOne(record.BEFORE, precision="fp32", threads=1)
    request = one(record.TINY_IMAGES[:1], eta=1.0)[0]
    assert isinstance(request, StageTwoRequest)
    for other in (StageTwo(record.BEFORE, precision="int8", threads=1), StageTwo(BUNDLE, threads=1)):
        (answer,) = other.predict_batch([request.to_bytes()])
        assert isinstance(answer, RequestError) and "another bundle or precision" in str(answer)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_precision_crosses(precision: str) -> None:
    one, two = (kind(record.BEFORE, precision=precision, threads=1) for kind in (StageOne, StageTwo))
    whole = SACViT(record.BEFORE, precision=precision, threads=1)
    paths = record.TINY_IMAGES[:5]
    results = finished(two, one.predict_batch(paths, eta=1.0), "bytes")
    for found, expected in zip(results, whole.predict_batch(paths, eta=1.0), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("stage", ["ee", "sac"])
def test_nan_costs_only_its_own_image(
    stage: str,
    bundle_copy: Path,
    rehash: Callable[[Path], None],
    spoil: Callable[[Path], None],
    image_paths: list[Path],
) -> None:
    spoil(bundle_copy / f"{stage}.fp32.onnx")
    rehash(bundle_copy)
    one, two = (kind(bundle_copy, precision="fp32", threads=1) for kind in (StageOne, StageTwo))
    sources: list[ImageSource] = [image_paths[0], WHITE, image_paths[1]]
    results = finished(two, one(sources, eta=1.0))
    assert isinstance(results[1], OutputError) and f"the {stage.upper()} engine" in str(results[1])
    assert [type(result) for result in results[::2]] == [Prediction, Prediction]


def test_answers_are_json(stages: tuple[StageOne, StageTwo]) -> None:
    one, two = stages
    (answer,) = finished(two, one([PICTURES[0].read_bytes()], eta=1.0), "bytes")
    assert isinstance(answer, Prediction)
    assert json.loads(json.dumps(answer.to_dict()))["source"] == "<bytes>"
