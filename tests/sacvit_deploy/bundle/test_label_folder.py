"""Folders of class folders, and what lies between them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sacvit_deploy.bundle.label_file import read_labels
from sacvit_deploy.errors import LabelError


def fill(folder: Path, *names: str) -> Path:
    """Make class folders with a picture each."""
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "a.jpg").touch()
    return folder


def test_a_data_set_with_other_folders_beside_its_parts(tmp_path: Path) -> None:
    data = fill(tmp_path / "data", "train/dog", "train/cat", "val/dog", "val/owl", "scripts", "annotations")
    names, notes = read_labels(data, 2)
    assert names == ["cat", "dog"]
    assert notes[0] == f"{data}: took the class folders in train; left out annotations, scripts beside it"
    assert notes[1] == f"{data}: val has folders that train has not: owl"
    names, notes = read_labels(fill(tmp_path / "part", "Val/dog", "Val/cat"))
    assert names == ["cat", "dog"] and notes == [f"{tmp_path / 'part'}: took the class folders in Val"]


def test_classes_that_are_called_like_parts(tmp_path: Path) -> None:
    assert read_labels(fill(tmp_path, "train", "bus", "test")) == (["bus", "test", "train"], [])


def test_what_tools_leave_is_no_class(tmp_path: Path) -> None:
    data = fill(tmp_path, "cat", "dog", "__pycache__", ".ipynb_checkpoints", "@eaDir")
    names, notes = read_labels(data, 2)
    assert names == ["cat", "dog"] and notes == [f"{data}: left out @eaDir, __pycache__, no class folders"]
    with pytest.raises(LabelError, match="has no class folders"):
        read_labels(fill(tmp_path / "none", "__pycache__"))


def test_a_data_set_without_class_folders(tmp_path: Path) -> None:
    fill(tmp_path, "train/images", "train/labels", "val/images", "val/labels")
    with pytest.raises(LabelError, match="train holds images, labels, no class folders; give a text file"):
        read_labels(tmp_path, 2)


def test_empty_folders_count_unless_the_classes_say_otherwise(tmp_path: Path) -> None:
    data = fill(tmp_path, "cat", "dog")
    (data / "owl").mkdir()
    (data / "owl" / ".DS_Store").touch()
    for classes in (None, 3):
        names, notes = read_labels(data, classes)
        assert names == ["cat", "dog", "owl"]
        assert notes == [f"{data}: 1 class folder of 3 without files, which counts, too: owl"]
    assert read_labels(data, 2) == (["cat", "dog"], [f"{data}: left out empty folders: owl"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names of files are text")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    fill(tmp_path, "cat", os.fsdecode(b"gro\xdf"))
    with pytest.raises(LabelError, match=r"class 1, 'gro\\udcdf', holds half of a character") as refused:
        read_labels(tmp_path, 2)
    str(refused.value).encode()
