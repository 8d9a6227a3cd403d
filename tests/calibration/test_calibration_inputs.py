"""Calibration inputs: those that the runtime gives each engine, and the notes for the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Index
from sacvit_deploy.calibration.calibration_inputs import CalibrationInputs, collect_inputs
from sacvit_deploy.errors import ImageError, OutputError
from sacvit_deploy.evaluation.labelled_images import LabelledImages
from sacvit_deploy.evaluation.open_images import open_unlabelled, prepare_image
from sacvit_deploy.evaluation.scenes import open_scenes
from sacvit_deploy.geometry import child_positions, num_targets
from sacvit_deploy.images.preprocess import full_view
from sacvit_deploy.item import Answer, Item
from sacvit_deploy.scheduler import Scheduler
from sacvit_deploy.stages.host import HostStages


@pytest.fixture(scope="module")
def scenes(model: SACViT, eval_set: Path) -> LabelledImages:
    """40 scenes, two whole batches and a half."""
    return open_scenes(eval_set, 10, 224, model.config.preprocessing).pick(np.arange(40))


def runtime_answers(model: SACViT, dataset: LabelledImages, eta: float, alpha: float) -> list[Answer]:
    """Run the same images through the runtime's scheduler."""
    stages = HostStages(model.cascade, num_targets(alpha, 49, "floor"))
    scheduler = Scheduler(stages, eta, sac_batch=8, patience=64)
    items = [Item(name, dataset.load(row)) for row, name in enumerate(dataset.names)]
    return list(scheduler.run([items]))


def chosen_targets(answers: list[Answer]) -> Index:
    """Return the targets [n,M] of the images that continued."""
    return np.array([answer.targets for answer in answers if answer.stage == 2], dtype=np.int64)


def test_stage_two_sees_the_images_that_continue(model: SACViT, scenes: LabelledImages) -> None:
    inputs = collect_inputs(model.cascade, scenes, eta=0.6, alphas=[0.5])
    answers = runtime_answers(model, scenes, 0.6, 0.5)
    going = [row for row, answer in enumerate(answers) if answer.stage == 2]
    assert 0 < len(going) < len(scenes)
    targets = np.concatenate([request.targets for request in inputs.requests])
    assert np.array_equal(targets, chosen_targets(answers))
    batches = list(inputs.batches("sac"))
    positions = np.concatenate([feed["positions"] for feed in batches])
    assert np.array_equal(positions, child_positions(targets, 7))
    # The patches are the real ones: normalised pixels at the children's places.
    patches = np.concatenate([feed["patches"] for feed in batches])
    for at, row in enumerate(going):
        whole = full_view([scenes.load(row)], model.config.preprocessing)[0]
        for child in (0, 5, 95):
            y, x = divmod(int(positions[at, child]), 14)
            square = whole[:, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
            assert np.allclose(patches[at, child], square.ravel(), atol=1e-6)


def test_the_other_engines_see_every_image(model: SACViT, calibration: CalibrationInputs) -> None:
    assert len(calibration.images) == 32
    low = np.concatenate([feed["image"] for feed in calibration.batches("ee")])
    assert np.array_equal(low, model.cascade.low_view(calibration.images))
    full = np.concatenate([feed["image"] for feed in calibration.batches("deit")])
    assert np.array_equal(full, full_view(calibration.images, model.config.preprocessing))


def test_every_alpha_is_calibrated(model: SACViT, scenes: LabelledImages) -> None:
    inputs = collect_inputs(model.cascade, scenes, eta=0.6, alphas=[0.3, 0.5, 0.9])
    by_count: dict[int, int] = {}
    for request in inputs.requests:
        by_count[request.targets.shape[1]] = by_count.get(request.targets.shape[1], 0) + request.size
        assert request.background.shape[1] == 49 - request.targets.shape[1]
    assert list(by_count) == [14, 24, 44] and len(set(by_count.values())) == 1
    targets = np.concatenate([request.targets for request in inputs.requests if request.targets.shape[1] == 14])
    assert np.array_equal(targets, chosen_targets(runtime_answers(model, scenes, 0.6, 0.3)))


def test_nobody_continues(model: SACViT, scenes: LabelledImages) -> None:
    inputs = collect_inputs(model.cascade, scenes, eta=0.0, alphas=[0.5])
    assert sum(request.size for request in inputs.requests) == 40
    assert inputs.notes == ("no calibration image continues at eta 0; stage 2 is calibrated with all of them (eta 1)",)
    everybody = collect_inputs(model.cascade, scenes, eta=1.0, alphas=[0.5])
    assert everybody.notes == ()
    for one, other in zip(inputs.requests, everybody.requests, strict=True):
        assert np.array_equal(one.patches, other.patches) and np.array_equal(one.targets, other.targets)


def test_few_images_are_warned_of(model: SACViT, scenes: LabelledImages) -> None:
    notes = collect_inputs(model.cascade, scenes.pick(np.arange(15)), eta=1.0, alphas=[0.5]).notes
    assert notes == ("only 15 calibration images; ranges from fewer than 16 are a matter of chance",)
    assert collect_inputs(model.cascade, scenes.pick(np.arange(16)), eta=1.0, alphas=[0.5]).notes == ()
    # Many images of which few continue leave stage 2 with as little.
    sure = sorted(answer.stage_one_probability for answer in runtime_answers(model, scenes, 0.0, 0.5))
    notes = collect_inputs(model.cascade, scenes, eta=sure[2], alphas=[0.5]).notes
    assert len(notes) == 1 and notes[0].startswith("only 3 of 40 calibration images continue at eta 0.")


def test_unreadable_images_are_counted_and_one_is_named(model: SACViT, image_paths: list[Path], tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02}.jpg").write_bytes(image_paths[number % 7].read_bytes())
    (tmp_path / "05.jpg").write_bytes(image_paths[5].read_bytes()[:900])
    (tmp_path / "19.jpg").write_bytes(b"")
    dataset = open_unlabelled(tmp_path, lambda path: prepare_image(model, path))
    inputs = collect_inputs(model.cascade, dataset, eta=1.0, alphas=[0.5])
    assert len(inputs.images) == 18 == sum(request.size for request in inputs.requests)
    assert len(inputs.notes) == 1
    assert inputs.notes[0].startswith("2 of 20 calibration images can't be read, such as: ")
    assert "05.jpg" in inputs.notes[0]
    sound = [row for row in range(20) if row not in (5, 19)]
    assert all(np.array_equal(image, dataset.load(row)) for image, row in zip(inputs.images, sound, strict=True))


def test_no_image_can_be_read(model: SACViT, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"no image")
    dataset = open_unlabelled(tmp_path, lambda path: prepare_image(model, path))
    with pytest.raises(ImageError, match=r"none of the 3 images in .* can be read; .*0\.png"):
        collect_inputs(model.cascade, dataset, eta=0.5, alphas=[0.5])


def test_images_without_a_finite_answer(
    bundle_copy: Path, scenes: LabelledImages, spoil: Callable[..., None], rehash: Callable[[Path], None]
) -> None:
    white = np.full((224, 224, 3), 255, np.uint8)
    bright = LabelledImages(
        "images", "here", scenes.labels, scenes.names, lambda row: scenes.load(row) if row else white
    )
    engine = bundle_copy / "ee.fp32.onnx"
    original = engine.read_bytes()
    spoil(engine)
    rehash(bundle_copy)
    cascade = SACViT(bundle_copy, precision="fp32", threads=1).cascade
    sound = collect_inputs(cascade, scenes, eta=1.0, alphas=[0.5])
    inputs = collect_inputs(cascade, bright, eta=1.0, alphas=[0.5])
    rest = np.concatenate([request.patches for request in sound.requests])[1:]
    assert np.array_equal(np.concatenate([request.patches for request in inputs.requests]), rest)
    engine.write_bytes(original)
    spoil(engine, -10.0)
    rehash(bundle_copy)
    with pytest.raises(OutputError, match="no finite answer on any calibration image"):
        collect_inputs(SACViT(bundle_copy, precision="fp32", threads=1).cascade, scenes, eta=1.0, alphas=[0.5])


def test_the_digest_is_of_the_pixels_in_their_order(model: SACViT, scenes: LabelledImages) -> None:
    def digest(dataset: LabelledImages) -> str:
        return collect_inputs(model.cascade, dataset, eta=0.6, alphas=[0.5]).digest

    few = scenes.pick(np.arange(4))
    assert digest(few) == digest(scenes.pick(np.arange(4)))
    changed = few.load(3).copy()
    changed[100, 100, 1] ^= 1
    other = LabelledImages("scenes", "here", few.labels, few.names, lambda row: changed if row == 3 else few.load(row))
    assert len({digest(few), digest(other), digest(few.pick(np.array([1, 0, 2, 3]))), digest(scenes)}) == 4


def test_a_part_is_spread_over_all_images_and_alphas(model: SACViT, scenes: LabelledImages) -> None:
    inputs = collect_inputs(model.cascade, scenes, eta=1.0, alphas=[0.4, 0.5])
    part = inputs.part(8)
    assert [image.tobytes() for image in part.images] == [image.tobytes() for image in inputs.images[::5]]
    assert [(request.size, request.targets.shape[1]) for request in part.requests] == [(8, 19), (8, 24)]
    # Of each of the three batches some, in the order of the images.
    whole = [request for request in inputs.requests if request.targets.shape[1] == 24]
    expected = np.concatenate([request.patches[:3] for request in whole])[:8]
    assert np.array_equal(part.requests[1].patches, expected)


def test_a_part_may_be_all_there_is(model: SACViT, scenes: LabelledImages) -> None:
    inputs = collect_inputs(model.cascade, scenes, eta=1.0, alphas=[0.5])
    assert len(inputs.part(1000).images) == 40
    assert sum(request.size for request in inputs.part(1000).requests) == 40
    assert len(inputs.part(1).images) == 1
