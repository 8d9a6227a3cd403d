"""Files written whole; what killed processes leave is found and removed, what living ones write is not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sacvit_deploy import files
from sacvit_deploy.files import OLD, keep_access, remove_leftovers, whole_file, workplace
from sacvit_deploy.locks import LOCK, Lock, locked

ROOT = os.geteuid() == 0


def leftover(folder: Path, name: str, random: str = "abcd1234", *, lock: bool = True) -> Path:
    """Make the hidden folder of a killed process."""
    work = folder / f".{name}.partial-{random}"
    work.mkdir()
    (work / name).write_text("half")
    if lock:
        (work / LOCK).touch()
    return work


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with pytest.raises(ZeroDivisionError), whole_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with whole_file(path) as partial:
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert list(tmp_path.iterdir()) == [path]


def test_mode_and_group_stay(tmp_path: Path) -> None:
    path, fresh = tmp_path / "file", tmp_path / "fresh"
    path.touch()
    path.chmod(0o640)
    if ROOT:
        os.chown(path, 1234, 5678)
    before = path.stat()
    for place, like in ((path, None), (fresh, path)):
        with whole_file(place, like=like) as partial:
            partial.write_text("new")
        after = place.stat()
        assert after.st_ino != before.st_ino
        assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_fresh_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "file") as partial:
            partial.touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_group_that_can_not_be_kept_takes_its_rights_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise PermissionError

    path = tmp_path / "file"
    path.touch()
    for mode, kept in ((0o640, 0o600), (0o2775, 0o755), (0o664, 0o644)):
        former = os.stat_result((mode | stat.S_IFREG, 1, 1, 1, os.getuid(), os.getgid() + 1, 0, 0, 0, 0))
        with monkeypatch.context() as patched:
            patched.setattr(os, "chown", refused)
            keep_access(former, path)
        assert stat.S_IMODE(path.stat().st_mode) == kept


def test_links_are_followed_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    real.touch()
    link.symlink_to(real)
    with whole_file(link) as partial:
        partial.write_text("new")
    assert link.is_symlink() and real.read_text() == "new"
    with whole_file(link, follow=False) as partial:
        partial.write_text("own")
    assert not link.is_symlink() and real.read_text() == "new" and link.read_text() == "own"
    assert [path.name for path in real.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["model.sacvit", "model[1].sacvit", "model*.sacvit"])
def test_what_killed_processes_left_is_removed(name: str, tmp_path: Path) -> None:
    dead, other = leftover(tmp_path, name), leftover(tmp_path, "model.sacvit2")
    empty = tmp_path / f".{name}.partial-empty"
    empty.mkdir()
    (tmp_path / "mine").mkdir()
    link = tmp_path / f".{name}.partial-link"
    link.symlink_to("mine")
    with workplace(tmp_path / name) as living:
        remove_leftovers(tmp_path, name)
        assert living.exists() and not dead.exists() and not empty.exists()
        assert sorted(tmp_path.iterdir()) == sorted([living, link, other, tmp_path / "mine"])
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([link, tmp_path / "mine"])


@pytest.mark.skipif(not ROOT, reason="not run: only root makes other users' folders")
def test_another_users_is_not_touched(tmp_path: Path) -> None:
    """In a folder that others can write to, it may hold anything, and would be put in the missing target's place."""
    work = leftover(tmp_path, "x.sacvit")
    (work / OLD).mkdir()
    os.chown(work, 1234, 1234)
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [work] and (work / OLD).exists()


def test_what_can_not_be_put_back_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    work = leftover(tmp_path, "x.sacvit")
    (work / OLD).mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", failing)
        remove_leftovers(tmp_path)
    assert sorted(path.name for path in work.iterdir()) == [LOCK, OLD]
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.sacvit"]


def test_what_was_moved_away_is_put_back(tmp_path: Path) -> None:
    """Killed between the two renames that replace a folder where it can't be exchanged."""
    work = leftover(tmp_path, "x.sacvit")
    (work / OLD).mkdir()
    (work / OLD / "file").write_text("whole")
    remove_leftovers(tmp_path, "x.sacvit")
    assert [path.name for path in tmp_path.iterdir()] == ["x.sacvit"]
    assert (tmp_path / "x.sacvit" / "file").read_text() == "whole"
    again = leftover(tmp_path, "x.sacvit")
    (again / OLD).mkdir()
    remove_leftovers(tmp_path, "x.sacvit")  # where something is, nothing is put
    assert (tmp_path / "x.sacvit" / "file").read_text() == "whole" and not again.exists()


def test_what_can_not_be_told_from_a_living_one_stays_for_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without locks on this file system, or from a version that had none."""
    unlocked, young = leftover(tmp_path, "x", lock=False), leftover(tmp_path, "x", "other")
    monkeypatch.setattr(files, "try_lock", lambda folder, create=True: uncertain(folder, create))
    remove_leftovers(tmp_path)
    assert unlocked.exists() and young.exists() and (young / LOCK).exists()
    past = time.time() - files.DAY - 60
    for path in (*unlocked.iterdir(), unlocked, *young.iterdir(), young):
        os.utime(path, (past, past))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def uncertain(folder: Path, create: bool) -> Lock:
    return Lock(folder / LOCK, os.open(folder / LOCK, os.O_RDWR | (os.O_CREAT if create else 0)), certain=False)


def test_a_leftover_that_is_being_removed_is_left_to_who_does_it(tmp_path: Path) -> None:
    work = leftover(tmp_path, "x")
    with locked(work):
        remove_leftovers(tmp_path)
        assert (work / "x").exists()


@pytest.mark.slow
def test_makers_and_removers_at_once(tmp_path: Path) -> None:
    """A folder between its making and its locking looks like a leftover, but removing it must not break its maker."""
    code = (
        "import sys; from pathlib import Path; from sacvit_deploy.files import remove_leftovers, workplace\n"
        "target = Path(sys.argv[1])\n"
        "for turn in range(500):\n"
        "    with workplace(target) as work:\n"
        "        (work / 'file').write_text('whole'); remove_leftovers(target.parent); (work / 'file').read_text()"
    )
    makers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "file")]) for _ in range(4)]
    assert [process.wait(300) for process in makers] == [0] * 4
    assert list(tmp_path.iterdir()) == []
