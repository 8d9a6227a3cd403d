"""The order of engine calls, and engines that give NaN for one picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy import ImageError, OutputError, Prediction, SACViT
from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.confidence import finite_rows
from sacvit_deploy.gate import share_time
from sacvit_deploy.images.decode import ImageSource
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.host import HostStages
from sacvit_deploy.stages.protocol import InFlight

WHITE = np.full((224, 224, 3), 255, dtype=np.uint8)


class Counting(Cascade):
    """A real cascade that notes the sizes of its engine calls."""

    def __init__(self, model: SACViT) -> None:
        super().__init__(model.backend, model.bundle.checked_files("fp32"), model.config)
        self.ee_sizes: list[int] = []
        self.sac_sizes: list[int] = []

    def stage_one(self, low: Array) -> dict[str, Array]:
        """Note the size, then run."""
        self.ee_sizes.append(len(low))
        return super().stage_one(low)

    def stage_two(self, inputs: Mapping[str, Array]) -> Array:
        """Note the size, then run."""
        self.sac_sizes.append(len(inputs["patches"]))
        return super().stage_two(inputs)


@pytest.fixture
def cascade(model: SACViT) -> Counting:
    return Counting(model)


@pytest.fixture(scope="module")
def prepared(model: SACViT, easy: Path, hard: Path) -> list[Pixels]:
    found = [model.prepare(path).pixels for path in (easy, hard)]
    assert all(pixels is not None for pixels in found)
    return found  # type: ignore[return-value]


EASY, HARD = 0, 1  # exits and continues at eta 0.6


def items(numbers: Sequence[int | None], prepared: list[Pixels]) -> list[Item]:
    """Pictures by number; None is one that could not be decoded."""
    return [
        Item(str(at), None, ImageError("bad")) if number is None else Item(str(at), prepared[number])
        for at, number in enumerate(numbers)
    ]


def run(cascade: Cascade, batches: list[list[Item]], *, sac_batch: int, patience: int = 100) -> list[Answer]:
    return list(Scheduler(HostStages(cascade, 24), 0.6, sac_batch, patience).run(batches))


def test_nobody_continues(cascade: Counting, prepared: list[Pixels]) -> None:
    answers = run(cascade, [items([EASY] * 3, prepared)], sac_batch=2)
    assert [answer.stage for answer in answers] == [1, 1, 1]
    assert (cascade.ee_sizes, cascade.sac_sizes) == ([3], [])
    assert not cascade.sac_opened


def test_everybody_continues(cascade: Counting, prepared: list[Pixels]) -> None:
    answers = run(cascade, [items([HARD] * 3, prepared)], sac_batch=3)
    assert [answer.stage for answer in answers] == [2, 2, 2]
    assert (cascade.ee_sizes, cascade.sac_sizes) == ([3], [3])


def test_exactly_one_continues(cascade: Counting, prepared: list[Pixels]) -> None:
    answers = run(cascade, [items([EASY, HARD, EASY], prepared)], sac_batch=3)
    assert [answer.stage for answer in answers] == [1, 2, 1]
    assert (cascade.ee_sizes, cascade.sac_sizes) == ([3], [1])


def test_continuing_pictures_of_several_batches_make_whole_ones(cascade: Counting, prepared: list[Pixels]) -> None:
    pattern = [EASY, HARD, EASY, EASY]
    batches = [items(pattern, prepared) for _ in range(7)]
    answers = run(cascade, batches, sac_batch=3)
    assert cascade.ee_sizes == [4] * 7
    assert cascade.sac_sizes == [3, 3, 1]
    assert [answer.stage for answer in answers] == [1, 2, 1, 1] * 7
    assert [answer.item.source for answer in answers] == ["0", "1", "2", "3"] * 7


def test_more_than_a_batch_continues(cascade: Counting, prepared: list[Pixels]) -> None:
    run(cascade, [items([HARD] * 5, prepared), items([HARD] * 4, prepared)], sac_batch=2)
    assert cascade.sac_sizes == [2, 2, 2, 2, 1]


def test_bad_pictures_never_reach_an_engine(cascade: Counting, prepared: list[Pixels]) -> None:
    answers = run(cascade, [items([None, HARD, None], prepared), items([None], prepared)], sac_batch=4)
    assert [type(answer.error) for answer in answers] == [ImageError, type(None), ImageError, ImageError]
    assert (cascade.ee_sizes, cascade.sac_sizes) == ([1], [1])


def test_patience_bounds_the_answers_that_wait(cascade: Counting, prepared: list[Pixels]) -> None:
    taken = 0

    def batches() -> Iterator[list[Item]]:
        nonlocal taken
        yield items([HARD], prepared)
        for _ in range(20):
            taken += 1
            yield items([EASY], prepared)

    answers = Scheduler(HostStages(cascade, 24), 0.6, sac_batch=8, patience=5).run(batches())
    assert next(answers).stage == 2
    assert taken == 6  # the sixth finished answer is one too many
    assert [answer.stage for answer in answers] == [1] * 20
    assert cascade.sac_sizes == [1]


def test_an_image_that_is_due_waits_for_no_others(cascade: Counting, prepared: list[Pixels]) -> None:
    due, patient = items([HARD], prepared), items([HARD], prepared)
    due[0].due = time.monotonic()
    patient[0].due = time.monotonic() + 1000
    answers = Scheduler(HostStages(cascade, 24), 0.6, sac_batch=8, patience=100).run(
        [due, patient, items([EASY], prepared)]
    )
    assert (next(answers).stage, cascade.ee_sizes, cascade.sac_sizes) == (2, [1], [1])
    assert [answer.stage for answer in answers] == [2, 1]
    assert (cascade.ee_sizes, cascade.sac_sizes) == ([1, 1, 1], [1, 1])


def test_an_empty_batch_ends_what_is_under_way(cascade: Counting, prepared: list[Pixels]) -> None:
    batches = iter([items([HARD], prepared), items([HARD], prepared), [], items([EASY], prepared)])
    answers = Scheduler(HostStages(cascade, 24), 0.6, sac_batch=8, patience=100).run(batches)
    assert next(answers).stage == 2
    assert (cascade.ee_sizes, cascade.sac_sizes) == ([1, 1], [2])
    assert [answer.item.position for answer in answers] == [1, 2]


# --- overflow


@pytest.mark.parametrize("stage", ["ee", "sac"])
def test_nan_logits_cost_only_their_own_picture(
    bundle_copy: Path,
    rehash: Callable[[Path], None],
    spoil: Callable[[Path], None],
    model: SACViT,
    image_paths: list[Path],
    stage: str,
) -> None:
    spoil(bundle_copy / f"{stage}.fp32.onnx")
    rehash(bundle_copy)
    spoilt = SACViT(bundle_copy, precision="fp32", threads=1)
    eta = 0.6 if stage == "ee" else 1.0
    sources: list[ImageSource] = [*image_paths[:3], WHITE, *image_paths[3:], WHITE]
    for batch_size in (1, 3, 9):
        found = list(spoilt.stream(sources, batch_size=batch_size, eta=eta))
        for at, (result, expected) in enumerate(zip(found, model.stream(sources, eta=eta), strict=True)):
            assert isinstance(expected, Prediction)
            if at in (3, 8):
                assert isinstance(result, OutputError)
                assert f"the {stage.upper()} engine" in str(result)
            else:
                assert isinstance(result, Prediction)
                assert (result.label, result.stage) == (expected.label, expected.stage)
                np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-5)
    with pytest.raises(OutputError, match="<ndarray>.*NaN or infinite"):
        spoilt.predict(WHITE, eta=eta)


def test_finite_rows() -> None:
    clean, dirty = np.zeros((4, 3)), np.zeros((4, 2, 2), dtype=np.float16)
    dirty[1, 0, 1], dirty[2, 1, 0] = np.nan, -np.inf
    assert finite_rows(clean).tolist() == [True] * 4
    assert finite_rows(clean, dirty).tolist() == [True, False, False, True]


def test_a_batchs_time_is_shared_by_its_pictures() -> None:
    in_flight = InFlight(4)
    for step, seconds in (("gate", 0.5), ("ee", 2.0), ("gate", 0.25)):
        in_flight.book(step, seconds)
    timing = {"gate": 1.0, "decode": 5.0}
    share_time(in_flight, [timing])
    assert timing == {"gate": 1.1875, "decode": 5.0, "ee": 0.5}


def test_warming_opens_both_stages(tiny_bundle: Path) -> None:
    fresh = SACViT(tiny_bundle, precision="fp32", threads=1)
    fresh.warm(2)
    assert fresh.cascade.sac_opened
