"""Image folders: listed, split, cropped, and unreadable images skipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.training.folder_set import FolderSet, find_files, random_crop, split_files
from sacvit_deploy.training.measure import measure_accuracies
from sacvit_deploy.training.start import fresh

CONFIG = ModelConfig(Geometry(image_size=64, width=16, depth=2, heads=1, classes=2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, count in (("cat", 10), ("dog", 5)):
        (tmp_path / name).mkdir()
        for number in range(count):
            pixels = rng.integers(0, 256, (80, 100, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    return tmp_path


def test_classes_are_folders_in_order(folder: Path) -> None:
    files = find_files(folder)
    assert files.labels == ("cat", "dog")
    assert files.targets.tolist() == [0] * 10 + [1] * 5
    assert [path.parent.name for path in files.paths] == [files.labels[target] for target in files.targets]


def test_a_share_of_every_class_is_held_out_the_same_every_time(folder: Path) -> None:
    train, val = split_files(folder, 0.2, seed=1)
    assert (len(train.paths), len(val.paths)) == (12, 3)
    assert not set(train.paths) & set(val.paths)
    assert np.bincount(val.targets).tolist() == [2, 1]
    assert split_files(folder, 0.2, seed=1)[1].paths == val.paths
    assert split_files(folder, 0.2, seed=2)[1].paths != val.paths


def test_folders_named_train_and_val_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    for part in ("train", "val"):
        (root / part).mkdir()
        for name in ("cat", "dog"):
            (root / part / name).mkdir()
            Image.new("RGB", (70, 70)).save(root / part / name / f"{part}.png")
    train, val = split_files(root, 0.5, seed=0)
    assert {path.stem for path in train.paths} == {"train"} and {path.stem for path in val.paths} == {"val"}
    (root / "val" / "owl").mkdir()
    with pytest.raises(UsageError, match="the class owl, which the training images don't have"):
        split_files(root, 0.5, seed=0)


def test_folders_that_are_no_data_set_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        find_files(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="has no class folders"):
        find_files(folder / "cat")
    (folder / "owl").mkdir()
    with pytest.raises(UsageError, match="owl holds no images"):
        find_files(folder)
    Image.new("RGB", (70, 70)).save(folder / "owl" / "only.png")
    with pytest.raises(UsageError, match="owl has one image"):
        split_files(folder, 0.2, seed=0)


def test_unreadable_images_are_named_once_and_skipped(folder: Path) -> None:
    (folder / "cat" / "3.png").write_bytes(b"\x89PNG broken")
    warnings: list[str] = []
    dataset = FolderSet(find_files(folder), CONFIG, warn=warnings.append)
    rows = np.arange(15)
    for _ in range(2):
        batch = dataset.eval_batch(rows)
        assert batch.image.shape == (14, 3, 64, 64) and batch.labels.tolist() == [0] * 9 + [1] * 5
    assert dataset.train_batch(rows, np.random.default_rng(0), half=False).image.shape == (14, 3, 64, 64)
    assert len(warnings) == 1 and "3.png" in warnings[0]
    assert {path.name for path in dataset.unreadable} == {"3.png"}
    with pytest.raises(ImageError, match=r"none of 1 images can be read, such as .*3\.png"):
        dataset.eval_batch(np.array([3]))


def test_measuring_skips_unreadable_images(folder: Path) -> None:
    model = fresh(CONFIG.geometry, {}, CONFIG.preprocessing, 0)
    files = find_files(folder)
    whole = measure_accuracies(model, FolderSet(files, CONFIG), batch=5)
    files.paths[14].write_bytes(b"broken")  # these two are the whole last batch
    files.paths[13].write_bytes(b"broken")
    rest = measure_accuracies(model, FolderSet(files, CONFIG, warn=lambda _: None), batch=13)
    assert (whole.images, rest.images) == (15, 13)
    for path in files.paths:
        path.write_bytes(b"broken")
    with pytest.raises(ImageError, match="none of the 15 held-out images"):
        measure_accuracies(model, FolderSet(files, CONFIG, warn=lambda _: None))


def test_eval_batches_are_what_the_runtime_sees(folder: Path) -> None:
    files = find_files(folder)
    batch = FolderSet(files, CONFIG).eval_batch(np.array([12]))
    pixels = fit(Image.open(files.paths[12]), 64, CONFIG.preprocessing) / 255.0
    expected = (pixels - CONFIG.preprocessing.mean) / CONFIG.preprocessing.std
    np.testing.assert_allclose(batch.image[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_train_batches_follow_from_the_generator(folder: Path) -> None:
    dataset = FolderSet(find_files(folder), CONFIG, workers=4)
    rows = np.arange(15)
    one, same, other = (dataset.train_batch(rows, np.random.default_rng(seed), half=True).image for seed in (1, 1, 2))
    assert one.equal(same) and not one.equal(other)


@given(
    st.integers(1, 300), st.integers(1, 300), st.lists(st.floats(0, 0.999999), min_size=5, max_size=5), st.booleans()
)
def test_crops_have_the_size_asked_for_and_stay_inside(width: int, height: int, draw: list[float], flip: bool) -> None:
    image = Image.new("RGB", (width, height), (10, 200, 30))
    crop = random_crop(image, size=16, draw=np.array(draw), flip=flip)
    assert crop.shape == (16, 16, 3)
    assert (crop == (10, 200, 30)).all()  # nothing from outside the image


def test_a_mirrored_crop_is_the_crop_mirrored() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    draw = np.array([0.3, 0.5, 0.2, 0.7, 0.1])
    upright, mirrored = (random_crop(image, size=16, draw=draw, flip=flip) for flip in (False, True))
    np.testing.assert_array_equal(mirrored, upright[:, ::-1])
    draw[4] = 0.9  # draws from 0.5 on leave the crop as it is
    np.testing.assert_array_equal(random_crop(image, size=16, draw=draw, flip=True), upright)
