"""One pass over the images gives the runtime's answers at every eta."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import ImageError, OutputError, UsageError
from sacvit_deploy.evaluation.eval_table import eval_row
from sacvit_deploy.evaluation.labelled_images import LabelledImages
from sacvit_deploy.evaluation.metrics import Correctness, continues
from sacvit_deploy.evaluation.open_images import open_folder, prepare_image
from sacvit_deploy.evaluation.outputs import EvalOutputs, collect
from sacvit_deploy.images.preprocess import full_view

ALPHAS = (0.3, 0.5)


def folder_of(model: SACViT, folder: Path) -> LabelledImages:
    return open_folder(folder, model.labels, lambda path: prepare_image(model, path))


@pytest.fixture(scope="module")
def outputs(model: SACViT, class_folder: Path) -> EvalOutputs:
    return collect(model.cascade, folder_of(model, class_folder), ALPHAS, batch=8)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("eta", [0.0, 0.55, 0.6, 0.8, 0.95, 1.0])
def test_every_eta_is_what_stream_gives(
    eta: float, alpha: float, model: SACViT, class_folder: Path, outputs: EvalOutputs
) -> None:
    dataset = folder_of(model, class_folder)
    streamed = list(model.stream(dataset.names, batch_size=8, eta=eta, alpha=alpha))
    go = continues(outputs.ee.probability, eta)
    answer = np.where(go, outputs.sac[alpha].answer, outputs.ee.answer)
    probability = np.where(go, outputs.sac[alpha].probability, outputs.ee.probability)
    right = 0
    for at, prediction in enumerate(streamed):
        assert isinstance(prediction, Prediction)
        assert prediction.stage == (2 if go[at] else 1)
        assert prediction.index == answer[at]
        assert prediction.probability == pytest.approx(probability[at], abs=1e-5)
        if prediction.targets is not None:
            assert np.array_equal(prediction.targets, outputs.targets[alpha][at])
        right += prediction.index == dataset.labels[at]
    row = eval_row(outputs, Correctness.of(outputs, alpha), alpha, eta, costs(model.config, alpha))
    assert row.top1.right == right
    assert row.continuing.count == sum(p.stage == 2 for p in streamed if isinstance(p, Prediction))
    assert row.images_per_second > 0 and row.time_ratio is None


def test_the_ends_are_the_stages_alone_and_the_stages_differ(model: SACViT, outputs: EvalOutputs) -> None:
    answers = Correctness.of(outputs, 0.5)
    count = costs(model.config, 0.5)
    assert answers.score(0.0, count).top1.right == (outputs.ee.answer == outputs.labels).sum()
    assert answers.score(1.0, count).top1.right == (outputs.sac[0.5].answer == outputs.labels).sum()
    assert answers.ee_right.sum() != answers.sac_right.sum()
    assert 0 < continues(outputs.ee.probability, 0.6).sum() < len(outputs.rows)


def test_unreadable_images_are_named_and_left_out(
    model: SACViT, class_folder: Path, tmp_path: Path, outputs: EvalOutputs
) -> None:
    dataset = folder_of(model, class_folder)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    load = dataset.load
    broken = LabelledImages(
        "images",
        "here",
        dataset.labels,
        dataset.names,
        lambda at: prepare_image(model, bad) if at in (0, 9, 10) else load(at),
    )
    part = collect(model.cascade, broken, [0.5], batch=8)
    assert part.rows.tolist() == [at for at in range(28) if at not in (0, 9, 10)]
    assert len(part.unreadable) == 3 and "bad.jpg" in str(part.unreadable[0])
    assert np.array_equal(part.labels, dataset.labels[part.rows])
    assert np.allclose(part.ee.logits, outputs.ee.logits[part.rows], atol=1e-4)
    with pytest.raises(ImageError, match=r"none of the 2 images in here can be read; .*bad.jpg"):
        collect(model.cascade, broken.pick(np.array([0, 9])), [0.5])


def test_nan_is_an_error_of_its_image(
    bundle_copy: Path, spoil: Callable[..., None], rehash: Callable[[Path], None], class_folder: Path, tmp_path: Path
) -> None:
    spoil(bundle_copy / "sac.fp32.onnx")
    rehash(bundle_copy)
    model = SACViT(bundle_copy, precision="fp32", threads=1)
    dataset = folder_of(model, class_folder)
    white = tmp_path / "white.png"
    Image.new("RGB", (224, 224), "white").save(white)
    load = dataset.load
    some = LabelledImages(
        "images",
        "here",
        dataset.labels,
        ["white" if at == 2 else name for at, name in enumerate(dataset.names)],
        lambda at: prepare_image(model, white) if at == 2 else load(at),
    ).pick(np.arange(6))
    part = collect(model.cascade, some, [0.5], batch=4)
    assert part.rows.tolist() == [0, 1, 3, 4, 5]
    assert [str(error).split(":")[0] for error in part.overflowed] == ["white"]
    assert "SAC" in str(part.overflowed[0])
    with pytest.raises(OutputError, match="no image of here gets a finite answer"):
        collect(model.cascade, some.pick(np.array([2])), [0.5])


def test_impossible_alpha(model: SACViT, class_folder: Path) -> None:
    with pytest.raises(UsageError, match="alpha"):
        collect(model.cascade, folder_of(model, class_folder), [0.5, 0.001])


def test_baseline_runs_the_plain_deit_on_the_same_images(model: SACViT, class_folder: Path) -> None:
    files = model.bundle.checked_files("fp32")
    baseline = model.backend.open(files["deit"], files["weights"])
    part = collect(model.cascade, folder_of(model, class_folder), [0.5], batch=8, baseline=baseline)
    speedup = part.times.speedup(0.5, 0.5)
    assert speedup is not None and speedup > 0
    assert part.times.speedup(0.5, 0.0) > speedup  # type: ignore[operator]
    assert set(part.times.milliseconds(0.5)) == {"ee", "ee_glue", "sac", "sac_glue", "deit"}
    without = collect(model.cascade, folder_of(model, class_folder), [0.5], batch=8)
    assert without.times.speedup(0.5, 0.5) is None and "deit" not in without.times.milliseconds(0.5)


def test_full_view_halves_to_the_low_view(model: SACViT, image_paths: list[Path]) -> None:
    images = [prepare_image(model, path) for path in image_paths[:2]]
    full = full_view(images, model.config.preprocessing)
    assert full.shape == (2, 3, 224, 224) and full.dtype == np.float32
    halved = full.reshape(2, 3, 112, 2, 112, 2).mean(axis=(3, 5))
    assert np.allclose(halved, model.cascade.low_view(images), atol=1e-5)
