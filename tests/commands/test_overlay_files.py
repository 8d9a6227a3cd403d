"""`--overlay`: one file for each image, none over another, none over an image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.commands.overlay_files import overlay_files, unique_names
from sacvit_deploy.errors import UsageError

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLE = EXAMPLES / "int8/model.sacvit"
PICTURE = sorted((EXAMPLES / "pictures").iterdir())[1]


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "b", "a", "a"], ["a", "b", "a-2", "a-3"]),
        (["a", "A"], ["a", "A-2"]),
        (["a-2", "a", "a"], ["a-2", "a", "a-3"]),
        (["a", "a", "a-2"], ["a", "a-2", "a-2-2"]),
    ],
)
def test_names_are_unique(names: list[str], unique: list[str]) -> None:
    assert unique_names(names) == unique


def test_many_equal_names() -> None:
    assert len(set(unique_names(["a", "a-7"] * 20_000))) == 40_000


def test_files_and_folders(tmp_path: Path) -> None:
    one, two = [Path("in/a.jpg")], [Path("in/a.jpg"), Path("in/a.png")]
    there = tmp_path / "there.v1"
    there.mkdir()
    assert overlay_files(tmp_path / "new.PNG", one) == [tmp_path / "new.PNG"]
    assert overlay_files(tmp_path / "new", one) == [tmp_path / "new/a.png"]
    assert overlay_files(there, one) == [there / "a.png"]
    assert overlay_files(there, two) == [there / "a.png", there / "a-2.png"]
    for target, paths, said in (
        (tmp_path / "new.png", two, "name a folder"),
        (tmp_path / "new.txt", one, r"name a \.png or \.jpg file, or a folder"),
    ):
        with pytest.raises(UsageError, match=said):
            overlay_files(target, paths)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        overlay_files(tmp_path / "file", two)


def test_no_image_is_overwritten(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.touch()
    for target in (tmp_path, image, tmp_path / "none" / ".." / "a.png"):
        with pytest.raises(UsageError, match=r"would overwrite the image .*a\.png"):
            overlay_files(target, [image])


def test_a_folder_of_one_image_and_equal_names(command: Any, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        shutil.copy(PICTURE, tmp_path / folder / "a.jpg")
    done = command("sacvit-infer", tmp_path / "first", "--bundle", BUNDLE, "--overlay", tmp_path / "one")
    assert f"overlay: {tmp_path / 'one/a.png'}" in done.stdout
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.png"]
    both = [tmp_path / "first", tmp_path / "second"]
    command("sacvit-infer", *both, "--bundle", BUNDLE, "--overlay", tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["a-2.png", "a.png"]
