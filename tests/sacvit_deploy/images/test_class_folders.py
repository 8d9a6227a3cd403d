"""Class-per-folder data sets: which files are listed, in which order, and which folders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.class_folders import class_folders, hidden_files, image_files, measured_folder


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_images_are_listed_by_class_in_order(tmp_path: Path) -> None:
    write(*(tmp_path / name for name in ("dog/2.png", "dog/10.JPG", "dog/a/1.webp", "cat/x.jpeg", "cat/notes.txt")))
    (tmp_path / "owl").mkdir()
    write(tmp_path / "loose.png", tmp_path / ".cache/1.png")
    (tmp_path / "cat/folder.png").mkdir()
    classes = class_folders(tmp_path)
    assert list(classes) == ["cat", "dog", "owl"]
    assert classes["cat"] == [tmp_path / "cat/x.jpeg"]
    assert classes["dog"] == [tmp_path / "dog" / name for name in ("10.JPG", "2.png", "a/1.webp")]
    assert classes["owl"] == []


def test_linked_files_and_class_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/1.png")
    (tmp_path / "data/cat").mkdir(parents=True)
    (tmp_path / "data/cat/2.png").symlink_to(tmp_path / "elsewhere/1.png")
    (tmp_path / "data/cat/3.png").symlink_to(tmp_path / "elsewhere/absent.png")
    (tmp_path / "data/dog").symlink_to(tmp_path / "elsewhere")
    classes = class_folders(tmp_path / "data")
    assert classes == {"cat": [tmp_path / "data/cat/2.png"], "dog": [tmp_path / "data/dog/1.png"]}


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent is not a folder"):
        class_folders(tmp_path / "absent")
    write(tmp_path / "1.png")
    with pytest.raises(UsageError, match="has no class folders"):
        class_folders(tmp_path)
    assert image_files(tmp_path) == [tmp_path / "1.png"]


def test_hidden_files_are_no_images(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/._1.png", "cat/.thumbs/1.png", "cat/in/2.png", "cat/.DS_Store"):
        write(tmp_path / name)
    assert class_folders(tmp_path) == {"cat": [tmp_path / "cat/1.png", tmp_path / "cat/in/2.png"]}
    assert hidden_files(tmp_path) == [tmp_path / "cat/._1.png", tmp_path / "cat/.thumbs/1.png"]
    assert image_files(tmp_path / "cat/.thumbs") == [tmp_path / "cat/.thumbs/1.png"]  # named, it is meant


def test_what_a_data_set_is_measured_on(tmp_path: Path) -> None:
    write(tmp_path / "plain/cat/1.png", tmp_path / "split/train/cat/1.png", tmp_path / "split/test/cat/1.png")
    assert measured_folder(tmp_path / "plain", ["cat"]) == tmp_path / "plain"
    assert measured_folder(tmp_path / "split", ["cat"]) == tmp_path / "split/test"
    write(tmp_path / "split/val/cat/1.png")
    assert measured_folder(tmp_path / "split", ["cat"]) == tmp_path / "split/val"
    assert measured_folder(tmp_path / "split", ["cat", "val"]) == tmp_path / "split"  # a class of that name
    assert measured_folder(tmp_path / "absent", ["cat"]) == tmp_path / "absent"
