"""Class folders and scenes: what is read, what is skipped, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy import SACViT
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.errors import ImageError, UsageError
from sacvit_deploy.evaluation.labelled_images import decoded_batches, spread_rows
from sacvit_deploy.evaluation.open_images import open_folder, open_images, prepare_image
from sacvit_deploy.evaluation.options import open_job
from sacvit_deploy.evaluation.scenes import open_scenes, size_buckets
from tests.data import record
from tests.jpegs_in_calls import count_calls

from .making import write_scenes

LABELS = [f"thing {number}" for number in range(10)]


def opened(folder: Path, model: SACViT) -> object:
    return open_folder(folder, LABELS, lambda path: prepare_image(model, path))


def test_folder(class_folder: Path, model: SACViT) -> None:
    dataset = open_folder(class_folder, LABELS, lambda path: prepare_image(model, path))
    assert len(dataset) == 28
    for row, name in enumerate(dataset.names):
        assert Path(name).parent.name == LABELS[dataset.labels[row]]
    assert dataset.load(3).shape == (224, 224, 3)
    part = dataset.pick(np.array([5, 1]))
    assert part.names == [dataset.names[5], dataset.names[1]]
    assert np.array_equal(part.load(0), dataset.load(5))


def test_a_gpu_decodes_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is the GPU that decodes what `--decode gpu` gives to `sacvit eval` and `sweep`."""
    sizes = count_calls(monkeypatch)
    plain, folder = SACViT(record.ROOT / "examples/int8/model.sacvit", threads=1), tmp_path / "images"
    pictures = sorted((record.ROOT / "examples/pictures").glob("*.jpg"))[:12]
    for number, picture in enumerate(pictures):
        (folder / plain.labels[number % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, folder / plain.labels[number % 2])
    options: dict[str, Any] = {"scenes": None, "limit": None, "batch": 12, "threads": 1}
    job = open_job(bundle=plain.bundle.path, data=folder, decode="gpu", **options)
    (batch,) = decoded_batches(job.dataset, job.batch)
    assert len(batch.images) == 12 and len(sizes) < sum(sizes) >= 11  # one of the pictures is in CMYK
    for row, image in zip(batch.rows, batch.images, strict=True):
        assert np.array_equal(image, prepare_image(plain, Path(job.dataset.names[row])))
    assert open_images(job.model, folder).workers == job.dataset.workers


def test_empty_class_folders_are_named_and_counted(class_folder: Path, model: SACViT, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    shutil.copytree(class_folder, folder)
    unused = [label for label in LABELS if not (folder / label).exists()][:2]
    for label in unused:
        (folder / label).mkdir()
        (folder / label / "notes.txt").write_text("no image")
    (folder / ".cache").mkdir()
    dataset = open_folder(folder, LABELS, lambda path: prepare_image(model, path))
    assert len(dataset) == 28
    assert f"2 class folders without images, skipped: {', '.join(unused)}" in dataset.notes


def test_folders_refused(class_folder: Path, model: SACViT, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        opened(tmp_path / "absent", model)
    with pytest.raises(UsageError, match="no class folders"):
        opened(tmp_path, model)
    (tmp_path / "thing 1").mkdir()
    with pytest.raises(UsageError, match="no images in its 1 class folder "):
        opened(tmp_path, model)
    for name in ("thing1", "zebra"):
        (tmp_path / name).mkdir()
    with pytest.raises(UsageError, match=r"2 folders named after no class of the bundle: thing1, zebra; .* thing 1"):
        opened(tmp_path, model)
    with pytest.raises(UsageError, match="several classes of that name"):
        open_folder(class_folder, [*LABELS, *LABELS], lambda path: prepare_image(model, path))


def folders(folder: Path, *names: str) -> Path:
    """Write a folder of one small image for each name."""
    for name in names:
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (80, 80)).save(folder / name / "0.png")
    return folder


def test_folders_of_other_names_name_the_way_out(tmp_path: Path) -> None:
    """Where the bundle's classes have numbers for names, above all."""
    numbered = [f"class {number}" for number in range(3)]
    same = folders(tmp_path / "same", "cat", "class", "owl")
    relabel = f"if the model was trained on these folders, say: sacvit relabel BUNDLE --labels {same}$"
    with pytest.raises(UsageError, match=rf"3 folders named after no class .*: cat, class, owl; .*; {relabel}"):
        open_folder(same, numbered, lambda path: np.zeros((80, 80, 3), np.uint8))
    fewer = folders(tmp_path / "fewer", "cat", "owl")
    with pytest.raises(UsageError, match=r"sacvit relabel BUNDLE --labels FILE\|FOLDER with all names$"):
        open_folder(fewer, numbered, lambda path: np.zeros((80, 80, 3), np.uint8))
    slip = folders(tmp_path / "slip", "cat", "class 1", "clas 2")
    with pytest.raises(UsageError, match=r"2 folders named after no class of the bundle: cat, clas 2; [^;]*$"):
        open_folder(slip, numbered, lambda path: np.zeros((80, 80, 3), np.uint8))


def test_images_to_calibrate_with_say_why_they_have_no_labels(tmp_path: Path) -> None:
    model = SACViT(record.BEFORE, precision="fp32", threads=1)
    images = open_images(model, folders(tmp_path / "foreign", "cat", "owl", ".cache"))
    assert not images.labelled and images.notes[1:] == ("1 hidden file skipped: 0.png",)
    assert len(images) == 2
    assert "2 folders named after no class of the bundle: cat, owl" in images.notes[0]
    assert "sacvit relabel" in images.notes[0]
    flat = folders(tmp_path / "flat", model.labels[1])
    assert open_images(model, flat).labelled
    assert open_images(model, flat / model.labels[1]).notes == ()


@given(st.lists(st.integers(0, 8), min_size=1, max_size=120), st.integers(1, 130))
def test_spread(labels: list[int], limit: int) -> None:
    truth = np.array(labels)
    rows = spread_rows(truth, limit)
    assert len(rows) == min(limit, len(truth))
    assert np.array_equal(rows, np.unique(rows)) and rows.min() >= 0 and rows.max() < len(truth)
    classes = np.unique(truth)
    if limit >= len(classes):
        assert np.array_equal(np.unique(truth[rows]), classes)
    else:
        assert len(np.unique(truth[rows])) == limit
    if limit >= len(classes):
        for label in classes:  # in proportion, but for the one each class has for sure
            share = (truth == label).sum() / len(truth)
            assert abs((truth[rows] == label).sum() - share * len(rows)) <= len(classes) + 1


def test_scenes(scenes_folder: Path) -> None:
    for folder in (scenes_folder, scenes_folder / "test"):
        scenes = open_scenes(folder, 10, 224, Preprocessing())
        assert len(scenes) == 28 and scenes.boxes is not None and scenes.object_px is not None
        assert np.array_equal(scenes.load(4), np.load(scenes_folder / "test/images.npy")[4])
        assert np.array_equal(scenes.boxes, np.load(scenes_folder / "test/boxes.npy"))
        assert sum(inside.sum() for inside in size_buckets(scenes.object_px).values()) == 28
        assert list(size_buckets(scenes.object_px)) == ["16-28 px", "28-50 px", "50-90 px", "90-151 px"]


def test_sizes_outside_the_edges_have_their_own_buckets() -> None:
    assert list(size_buckets(np.array([3.0, 500.0]))) == ["< 16 px", ">= 151 px"]


@pytest.mark.parametrize("resize", ["shortest_edge", "squash"])
@pytest.mark.parametrize(("shape", "size"), [((300, 300), 224), ((100, 160), 64), ((224, 224), 288), ((400, 150), 64)])
def test_boxes_follow_the_resized_scene(
    shape: tuple[int, int], size: int, resize: Literal["shortest_edge", "squash"], tmp_path: Path
) -> None:
    height, width = shape
    box = np.array([[width // 2, height // 3, width // 2 + 30, height // 3 + 24]])
    images = np.zeros((1, height, width, 3), np.uint8)
    images[0, box[0, 1] : box[0, 3], box[0, 0] : box[0, 2]] = 255
    write_scenes(tmp_path, images, np.zeros(1), boxes=box.astype(np.int16))
    scenes = open_scenes(tmp_path, 10, size, Preprocessing(resize=resize))
    rows, columns = np.nonzero(scenes.load(0)[..., 0] > 127)
    assert scenes.boxes is not None
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert scenes.boxes[0] == pytest.approx(seen, abs=1.01)


def test_scenes_refused(scenes_folder: Path, tmp_path: Path) -> None:
    def change(edit: Callable[[Path], object]) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        shutil.copytree(scenes_folder / "test", folder)
        edit(folder)
        return folder

    def refuse(folder: Path, kind: type[Exception], match: str, classes: int = 10) -> None:
        with pytest.raises(kind, match=match):
            open_scenes(folder, classes, 224, Preprocessing())

    refuse(change(lambda f: (f / "scenes.json").unlink()), UsageError, "no scenes.json")
    refuse(change(lambda f: (f / "scenes.json").write_text("{")), ImageError, "can't read")
    refuse(change(lambda f: (f / "labels.npy").unlink()), ImageError, "labels.npy")
    refuse(change(lambda f: (f / "images.npy").write_bytes(b"no array")), ImageError, "images.npy")
    refuse(change(lambda f: np.save(f / "labels.npy", np.zeros(3, np.int64))), ImageError, "differ in length")
    refuse(change(lambda f: np.save(f / "boxes.npy", np.zeros((28, 4)))), ImageError, "not the int16 array")
    refuse(scenes_folder, UsageError, "use the bundle that was trained on these scenes", classes=3)
