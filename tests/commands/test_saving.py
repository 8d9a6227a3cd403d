"""`--save`: one file for each source, none over another, none over a source."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.commands.saving import saved_files, saved_name, unique_names
from sacvit_deploy.errors import UsageError
from sacvit_deploy.sources.frames import ImageFile, Source
from sacvit_deploy.sources.live import Camera
from sacvit_deploy.sources.pipes import Pipe
from sacvit_deploy.sources.video import Recording

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


def images(*names: str | Path) -> list[Source]:
    return [ImageFile(Path(name)) for name in names]


def test_files_and_folders(tmp_path: Path) -> None:
    one, two = images("in/a.jpg"), images("in/a.jpg", "in/a.png")
    there = tmp_path / "there.v1"
    there.mkdir()
    assert saved_files(tmp_path / "new.PNG", one) == [tmp_path / "new.PNG"]
    assert saved_files(tmp_path / "new", one) == [tmp_path / "new/a.png"]
    assert saved_files(there, one) == [there / "a.png"]
    assert saved_files(there, two) == [there / "a.png", there / "a-2.png"]
    (tmp_path / "file").touch()
    for target, sources, said in (
        (tmp_path / "new.png", two, "for several sources name a folder"),
        (tmp_path / "new.txt", one, r"name a \.png, \.jpg or \.mp4 file, or a folder"),
        (tmp_path / "file", two, "is a file"),
    ):
        with pytest.raises(UsageError, match=said):
            saved_files(target, sources)


def test_videos_and_streams(tmp_path: Path) -> None:
    clip, camera, pipe = Recording("in/clip.mp4", "in/clip.mp4"), Camera("0"), Pipe("-")
    for source, name in ((clip, "clip.mp4"), (camera, "camera 0.mp4"), (pipe, "stdin.png")):
        assert saved_files(tmp_path / "new.mkv", [source]) == [tmp_path / "new.mkv"]
        assert saved_files(tmp_path / "new", [source]) == [tmp_path / "new" / name]
    assert saved_files(tmp_path / "new", [clip, *images("clip.jpg")]) == [
        tmp_path / "new/clip.mp4",
        tmp_path / "new/clip-2.png",
    ]
    for target, refused, said in (
        ("a.mp4", images("a.jpg"), "would be a video, a.jpg is an image"),
        ("a.png", [clip], "would be an image of a whole video"),
    ):
        with pytest.raises(UsageError, match=said):
            saved_files(tmp_path / target, refused)


def test_names_of_addresses() -> None:
    assert saved_name("http://host/path/a%20b.jpg?x=1") == "a_b"
    assert saved_name("rtsp://me:***@10.0.0.1:554/") == "10.0.0.1"
    assert saved_name("http://host/%2e%2e%2fetc") == "etc"


def test_no_source_is_overwritten(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.touch()
    for target in (tmp_path, image, tmp_path / "none" / ".." / "a.png"):
        with pytest.raises(UsageError, match=r"would overwrite .*a\.png; name another place"):
            saved_files(target, images(image))


def test_a_folder_of_one_image_and_equal_names(command: Any, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        shutil.copy(PICTURE, tmp_path / folder / "a.jpg")
    done = command("sacvit-infer", tmp_path / "first", "--bundle", BUNDLE, "--overlay", tmp_path / "one")
    assert f"saved: {tmp_path / 'one/a.png'}" in done.stdout
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a.png"]
    both = [tmp_path / "first", tmp_path / "second"]
    command("sacvit-infer", *both, "--bundle", BUNDLE, "--save", tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["a-2.png", "a.png"]
