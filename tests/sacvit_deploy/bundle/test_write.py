"""Writing a bundle: complete or not at all, and replaced only when asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sacvit_deploy.bundle.bundle import MANIFEST
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.errors import ExportError


def test_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.sacvit"
    with pytest.raises(ZeroDivisionError), whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("half")
        assert not target.exists()
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == []
    with whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("whole")
    assert (target / MANIFEST).read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_only_bundles_are_replaced_and_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "x.sacvit"
    with whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("old")
        (folder / "left over").write_text("old")
    with pytest.raises(ExportError, match="--force"), whole_folder(target, replace=False):
        pass
    with pytest.raises(ZeroDivisionError), whole_folder(target, replace=True):
        raise ZeroDivisionError
    assert (target / MANIFEST).read_text() == "old"
    with whole_folder(target, replace=True) as folder:
        (folder / MANIFEST).write_text("new")
    assert [path.name for path in target.iterdir()] == [MANIFEST]
    assert (target / MANIFEST).read_text() == "new"
    for other in (tmp_path / "papers", tmp_path / "file"):
        (other.mkdir if other.name == "papers" else other.touch)()
        with pytest.raises(ExportError, match="not a bundle"), whole_folder(other, replace=True):
            pass
        assert other.exists()


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "x.sacvit"
    dead = tmp_path / ".x.sacvit.partial-999999999"
    living = tmp_path / f".x.sacvit.partial-{os.getppid()}"
    for folder in (dead, living):
        folder.mkdir()
    with whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("whole")
    assert not dead.exists()
    assert living.exists()


def test_target_under_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="can't write"), whole_folder(tmp_path / "file" / "x.sacvit", replace=False):
        pass
