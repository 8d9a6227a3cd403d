"""From files, folders and globs to image paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.paths import expand


def found(arguments: list[str]) -> list[Path]:
    """Expand where nothing is to be said."""
    notes: list[str] = []
    paths = expand(arguments, notes.append)
    assert notes == []
    return paths


def test_expand(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.txt", "d[1].jpg", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.jpg").touch()
    at = str(tmp_path)
    names = [path.name for path in found([at, f"{at}/b.jpg"])]
    assert names == ["a.PNG", "b.jpg", "d[1].jpg", "b.jpg"]
    assert [path.name for path in found([f"{at}/*.jpg"])] == ["b.jpg", "d[1].jpg"]
    assert [path.name for path in found([f"{at}/**/*.jpg"])] == ["b.jpg", "d[1].jpg", "e.jpg"]
    assert found([f"{at}/d[1].jpg"]) == [tmp_path / "d[1].jpg"]  # a name, though it looks like a glob
    assert found([f"{at}/none.jpg"]) == [tmp_path / "none.jpg"]  # reported in its place
    for nothing in (f"{at}/*.bmp", f"{at}/none/*.jpg"):
        with pytest.raises(UsageError, match="nothing matches"):
            found([nothing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images in the folder"):
        found([f"{at}/empty"])


def test_hidden_and_special_files_are_skipped_in_one_line(tmp_path: Path) -> None:
    for name in ("b.jpg", "._b.jpg", ".c.jpg", "d.JFIF"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "b.jpg")
    at, notes = str(tmp_path), list[str]()
    names = ["b.jpg", "d.JFIF", "gone.jpg", "link.jpg"]
    assert [path.name for path in expand([at], notes.append)] == names
    said = "._b.jpg (hidden), .c.jpg (hidden), folder.jpg (a folder), pipe.jpg (a FIFO)"
    assert notes == [f"{at}: 4 files skipped: {said}"]
    notes.clear()
    assert [path.name for path in expand([f"{at}/*.jpg"], notes.append)] == ["b.jpg", "gone.jpg", "link.jpg"]
    assert notes == [f"{at}/*.jpg: 1 file skipped: pipe.jpg (a FIFO)"]
    named = [f"{at}/pipe.jpg", f"{at}/.c.jpg"]  # by themselves, they are meant
    assert found(named) == [Path(name) for name in named]


def test_folders_below(tmp_path: Path) -> None:
    for name in ("a.jpg", "notes.md", "sub/b.PNG", "sub/deep/c.jpg", ".hidden/d.jpg", "sub/._b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub/loop").symlink_to(tmp_path)
    at, notes = str(tmp_path), list[str]()
    names = ["a.jpg", "sub/b.PNG", "sub/deep/c.jpg"]
    assert [str(path.relative_to(tmp_path)) for path in expand([f"{at}/**"], notes.append)] == names
    assert notes == [f"{at}/**: 2 files skipped: d.jpg (hidden), ._b.jpg (hidden)"]
    assert [path.name for path in found([f"{at}/**/*.jpg"])] == ["a.jpg", "c.jpg"]
    assert [path.name for path in found([f"{at}/s*/**/*.jpg"])] == ["c.jpg"]
    assert [path.name for path in found([f"{at}/sub/d*/**"])] == ["c.jpg"]
    for nothing in (f"{at}/none/**", f"{at}/**/*.bmp"):
        with pytest.raises(UsageError, match="no images in the folders|nothing matches"):
            found([nothing])


def test_folders_below_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.jpg").touch()
    monkeypatch.chdir(tmp_path)
    for argument in ("**", "./**", "**/*.jpg", "**/a*"):
        assert found([argument]) == [Path("sub/a.jpg")]
