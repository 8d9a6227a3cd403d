"""Writing a bundle: complete or not at all, and replaced only when asked."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit_deploy.bundle import write
from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from sacvit_deploy.bundle.relabel import write_labels
from sacvit_deploy.bundle.write import changing, check_target, recover, whole_folder
from sacvit_deploy.errors import ExportError
from sacvit_deploy.locks import LOCK
from tests.data import record

ROOT = os.geteuid() == 0


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(record.BEFORE, tmp_path / "tiny.sacvit"))


@pytest.fixture(params=["exchange", "two renames"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to replace a folder; the second is forced."""
    if request.param == "two renames":
        monkeypatch.setattr(write, "exchange", lambda one, other: False)
    return str(request.param)


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


def test_only_bundles_are_replaced_and_only_when_asked(way: str, tmp_path: Path) -> None:
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


def test_target_under_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="can't write"), whole_folder(tmp_path / "file" / "x.sacvit", replace=False):
        pass


def test_a_folder_that_may_not_be_written_in_is_refused_before_the_work(tmp_path: Path) -> None:
    """Checked with what the process may do, so that a long export does not end with it."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    tmp_path.chmod(0o755)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)  # root may write anywhere
        with pytest.raises(ExportError, match="is not writable; choose another place with --out"):
            check_target(locked / "below" / "a.sacvit", replace=False)
    finally:
        if root:
            os.seteuid(0)
    check_target(tmp_path / "a.sacvit", replace=False)


def test_mode_group_and_owner_stay(way: str, bundle: Path) -> None:
    """Of what was there; what is new takes those of the manifest or of the folder."""
    (bundle / "plans").mkdir()
    (bundle / "labels.txt").chmod(0o604)
    for path in (bundle / MANIFEST, bundle / "ee.fp32.onnx"):
        path.chmod(0o640)
    (bundle / "plans").chmod(0o710)
    bundle.chmod(0o750)
    if ROOT:
        for path in (bundle, *bundle.rglob("*")):
            os.chown(path, 1234, 5678)
    owner = (bundle.stat().st_uid, bundle.stat().st_gid)
    with whole_folder(bundle, replace=True) as folder:
        for name in ("plans", "new"):
            (folder / name).mkdir()
        for name in (MANIFEST, "labels.txt", "ee.fp32.onnx", "new/file"):
            (folder / name).touch()
    modes = {path.relative_to(bundle).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in bundle.rglob("*")}
    files = {MANIFEST: 0o640, "labels.txt": 0o604, "ee.fp32.onnx": 0o640, "new/file": 0o640}
    assert modes == {**files, "plans": 0o710, "new": 0o750}
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o750
    assert {(path.stat().st_uid, path.stat().st_gid) for path in (bundle, *bundle.rglob("*"))} == {owner}


def test_a_fresh_folder_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "x.sacvit", replace=False) as folder:
            (folder / MANIFEST).touch()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "x.sacvit", tmp_path / "x.sacvit" / MANIFEST)]
    assert modes == [0o750, 0o640]


def test_a_link_stays_a_link(way: str, bundle: Path) -> None:
    link = bundle.parent / "links" / "current.sacvit"
    link.parent.mkdir()
    link.symlink_to("../tiny.sacvit")
    with whole_folder(link, replace=True) as folder:
        (folder / MANIFEST).write_text("new")
    assert link.is_symlink() and (bundle / MANIFEST).read_text() == "new"
    assert sorted(path.name for path in bundle.parent.rglob("*")) == [
        "current.sacvit",
        "links",
        MANIFEST,
        "tiny.sacvit",
    ]
    dangling = link.with_name("next.sacvit")
    dangling.symlink_to("../next-7.sacvit")
    with whole_folder(dangling, replace=False) as folder:
        (folder / MANIFEST).write_text("first")
    assert dangling.is_symlink() and (bundle.parent / "next-7.sacvit" / MANIFEST).read_text() == "first"


def test_the_old_folder_stays_where_the_last_rename_fails(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if target == bundle and (source / "file").exists():
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(write, "exchange", lambda one, other: False)
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(ExportError, match="Input/output error"), whole_folder(bundle, replace=True) as folder:
        (folder / "file").write_text("new")
    open_bundle(bundle).checked_files("fp32")
    assert list(bundle.parent.iterdir()) == [bundle] and not (bundle / LOCK).exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from sacvit_deploy.bundle import write
rename = os.rename
def last(source, target):
    rename(source, target)
    os.kill(os.getpid(), signal.SIGKILL)
os.rename = last
write.exchange = lambda one, other: False
with write.whole_folder(Path(sys.argv[1]), replace=True) as folder:
    (folder / "manifest.json").write_text("new")
"""


def test_killed_between_two_renames_the_next_puts_it_back(bundle: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(bundle)]).returncode == -signal.SIGKILL
    assert not bundle.exists()
    recover(bundle)
    open_bundle(bundle).checked_files("fp32")
    assert list(bundle.parent.iterdir()) == [bundle]
    # An export without --force puts it back, too, and does not take the free name.
    assert subprocess.run([sys.executable, "-c", KILLED, str(bundle)]).returncode == -signal.SIGKILL
    with pytest.raises(ExportError, match="say --force"), whole_folder(bundle, replace=False):
        pass
    open_bundle(bundle).checked_files("fp32")


def test_who_needs_it_alone_keeps_others_from_changing_it(bundle: Path) -> None:
    """What a relabelling would change while a calibration copies it would be lost."""
    code = (
        "import sys; from pathlib import Path; from sacvit_deploy.bundle.relabel import write_labels\n"
        "write_labels(Path(sys.argv[1]), [f'new {n}' for n in range(10)], 'x')"
    )
    with whole_folder(bundle, replace=True, alone=True) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(LOCK))
        (folder / "added").touch()
        other = subprocess.Popen([sys.executable, "-c", code, str(bundle)], stderr=subprocess.PIPE, text=True)
        assert other.stderr is not None and other.stderr.readline().startswith("waiting for another command")
        assert open_bundle(bundle).labels == open_bundle(record.BEFORE).labels
    assert other.communicate(timeout=120) == (None, "") and other.returncode == 0
    assert (bundle / "added").exists() and open_bundle(bundle).labels[0] == "new 0"


def test_a_mount_point_is_refused_before_the_work(bundle: Path) -> None:
    """As where a container has a volume at the bundle's own path."""
    code = (
        "import sys; from pathlib import Path; from sacvit_deploy.bundle.write import check_target\n"
        "check_target(Path(sys.argv[1]), replace=True)"
    )
    rights = () if ROOT else ("--user", "--map-root-user")
    mount = 'mount -t tmpfs none "$1" && cp "$2"/* "$1" && shift 2 && exec "$@"'
    mounted = ["unshare", *rights, "--mount", "sh", "-c", mount, "sh", bundle, record.BEFORE]
    if shutil.which("unshare") is None or subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("not run: this system lets nobody mount")
    done = subprocess.run([*mounted, sys.executable, "-c", code, str(bundle)], capture_output=True, text=True)
    assert "it is a mount point; mount the folder that it is in instead" in done.stderr


def test_a_bundle_replaced_while_waiting_is_changed_itself(bundle: Path) -> None:
    """The lock that was waited for is the old folder's; the new one's is taken then."""
    with changing(bundle) as folder:
        assert folder == bundle
        os.rename(bundle, bundle.with_name("old"))
        shutil.copytree(record.BEFORE, bundle)
        assert write_labels(bundle, [f"new {number}" for number in range(10)], "x")
    assert open_bundle(bundle).labels[0] == "new 0"
    assert open_bundle(bundle.with_name("old")).labels == open_bundle(record.BEFORE).labels
