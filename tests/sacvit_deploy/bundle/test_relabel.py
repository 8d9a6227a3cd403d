"""Relabelling: old names or new ones, whatever happens between; nothing else changes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.bundle import bundle as bundles
from sacvit_deploy.bundle import relabel
from sacvit_deploy.bundle.bundle import MANIFEST, check_file, describe_file, open_bundle, open_manifest
from sacvit_deploy.bundle.manifest import Manifest
from sacvit_deploy.bundle.plans import FOLDER, RECORD, BuildTarget, PlanFile, PlanRecord, find_plans
from sacvit_deploy.bundle.relabel import write_labels
from sacvit_deploy.errors import BundleError, LabelError
from sacvit_deploy.export.overrides import Overrides, labels_of
from sacvit_deploy.export.settings import Settings
from sacvit_deploy.locks import LOCK
from tests.data import record

OLD = list(open_bundle(record.BEFORE).labels)
NEW = [f"Ding {number} ä 猫" for number in range(len(OLD))]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(record.BEFORE, tmp_path / "tiny.sacvit"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_only_labels_change(bundle: Path) -> None:
    (bundle / "plans").mkdir()
    before, files = open_bundle(bundle).manifest, contents(bundle)
    write_labels(bundle, NEW, "from\nclasses.txt")
    opened = open_bundle(bundle)
    assert list(opened.labels) == NEW
    for entry in opened.entries():
        check_file(bundle, entry)
    assert opened.manifest.provenance["notes"] == [*before.provenance["notes"], "labels: from classes.txt"]
    same = dataclasses.replace(opened.manifest, labels=before.labels, provenance=before.provenance)
    assert same == before
    after = contents(bundle)
    assert (bundle / "plans").is_dir()
    assert set(after) - set(files) == {opened.manifest.labels.path} and set(files) - set(after) == {"labels.txt"}
    assert all(after[name] == raw for name, raw in files.items() if name not in ("labels.txt", MANIFEST))


def test_what_the_export_said_of_the_old_names_goes_with_them(bundle: Path) -> None:
    """Its notes begin as this one does: `labels_of` writes them, and here they are in the manifest of a bundle."""
    _, old = labels_of(Settings(labels=("a", "a"), sources={"labels": "config.json"}), Overrides(), 2)
    manifest = open_bundle(bundle).manifest
    notes = ["a note of another kind", *old, *labels_of(Settings(), Overrides(), 2)[1]]
    assert len(notes) == 4
    (bundle / MANIFEST).write_bytes(dataclasses.replace(manifest, provenance={"notes": notes}).to_bytes())
    write_labels(bundle, [*NEW[:-1], NEW[0]], "from classes.txt")
    first, second, third = open_bundle(bundle).manifest.provenance["notes"]
    assert (first, second) == (notes[0], "labels: from classes.txt")
    assert third.startswith("labels: from classes.txt: 1 of the names stands for several classes")


def test_the_runtime_answers_with_the_new_names(bundle: Path) -> None:
    image = record.TINY_IMAGES[0]
    before = SACViT(bundle, precision="fp32", threads=1).predict(image)
    write_labels(bundle, NEW, "a test")
    after = SACViT(bundle, precision="fp32", threads=1).predict(image)
    assert after.label == NEW[before.index]
    assert after.probabilities.tolist() == before.probabilities.tolist()


def test_plans_stay_valid(bundle: Path) -> None:
    here = BuildTarget("tensorrt", "10.3.0", "a GPU", ("8.9",))
    opened = open_bundle(bundle)
    folder = bundle / FOLDER / "plans-of-a-test"
    folder.mkdir(parents=True)
    (folder / "ee.plan").write_bytes(b"a plan")
    onnx = {entry.path: entry.sha256 for entry in opened.variant("fp32").files.values()}
    plan = PlanFile(describe_file(folder / "ee.plan"), onnx, ())
    written = PlanRecord(here, "fp32", (1, 1, 1), (1, 1, 1), {"ee": plan, "sac": plan})
    (folder / RECORD).write_bytes(written.to_bytes())
    write_labels(bundle, NEW, "a test")
    found = find_plans(open_bundle(bundle), "fp32", here)
    assert {role: bytes(plan) for role, plan in found.items()} == {"ee": b"a plan", "sac": b"a plan"}


def test_there_and_back(bundle: Path) -> None:
    write_labels(bundle, NEW, "a test")
    write_labels(bundle, OLD, "a test")
    write_labels(bundle, OLD, "changes nothing")
    opened = open_bundle(bundle)
    assert list(opened.labels) == OLD
    assert [path.name for path in bundle.glob("labels*")] == [opened.manifest.labels.path]
    assert [note for note in opened.manifest.provenance["notes"] if note.startswith("labels")] == ["labels: a test"]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_killed_at_any_step_it_is_the_old_bundle_or_the_new(
    step: int, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three changes of the folder: the new names' file, the manifest, the removal of the old names' file."""
    done = 0

    class Killed(BaseException):
        pass

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            if done == step:
                raise Killed
            done += 1
            return function(*arguments, **options)

        return run

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(os, "replace", killing(os.replace))
        patched.setattr(Path, "unlink", killing_labels(Path.unlink, killing))
        write_labels(bundle, NEW, "a test")
    assert list(open_bundle(bundle).labels) == (OLD if step < 2 else NEW)
    write_labels(bundle, NEW, "again")
    assert list(open_bundle(bundle).labels) == NEW


def killing_labels(unlink: Callable[..., Any], killing: Callable[..., Any]) -> Callable[..., Any]:
    """Kill at the removal of the old names only, not of the hidden file that every written file leaves."""
    doomed = killing(unlink)
    return lambda path, *rest: doomed(path, *rest) if path.name == "labels.txt" else unlink(path, *rest)


def test_a_reader_in_between_finds_the_new_names(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = bundles.read_manifest
    read_times = 0

    def slow(path: Path) -> Manifest:
        nonlocal read_times
        read_times += 1
        manifest = read(path)
        if read_times == 1:
            monkeypatch.setattr(bundles, "read_manifest", read)
            write_labels(bundle, NEW, "meanwhile")
            monkeypatch.setattr(bundles, "read_manifest", slow)
        return manifest

    monkeypatch.setattr(bundles, "read_manifest", slow)
    assert list(open_bundle(bundle).labels) == NEW
    assert read_times == 2


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (NEW[:-1], f"{len(OLD) - 1} labels for {len(OLD)} classes"),
        ([*NEW[:-1], " "], "is empty"),
        ([*NEW[:-1], "a\nb"], "several lines"),
    ],
)
def test_names_that_do_not_fit_change_nothing(labels: list[str], match: str, bundle: Path) -> None:
    before = contents(bundle)
    with pytest.raises(LabelError, match=match):
        write_labels(bundle, labels, "a test")
    assert contents(bundle) == before


def test_a_bundle_that_can_not_be_written_stays(bundle: Path) -> None:
    (bundle / LOCK).mkdir()  # stops root as well, whom permissions don't
    with pytest.raises(BundleError, match=r"can't write to .*; its labels are unchanged"):
        write_labels(bundle, NEW, "a test")
    assert list(open_bundle(bundle).labels) == OLD


@pytest.mark.parametrize("damage", ["missing", "edited"])
@pytest.mark.parametrize("names", [OLD, NEW])
def test_labels_that_are_missing_or_edited_are_written_anew(damage: str, names: list[str], bundle: Path) -> None:
    if damage == "missing":
        (bundle / "labels.txt").unlink()
    else:
        (bundle / "labels.txt").write_text("\n".join(NEW), encoding="utf-8")
    with pytest.raises(BundleError, match="labels.txt .*; give the classes their names anew with `sacvit relabel`"):
        open_bundle(bundle)
    broken = relabel.broken_labels(bundle, open_manifest(bundle))
    assert broken is not None and broken.startswith(str(bundle / "labels.txt"))
    assert write_labels(bundle, names, "a test")
    assert relabel.broken_labels(bundle, open_manifest(bundle)) is None
    opened = open_bundle(bundle)
    assert list(opened.labels) == names
    assert [path.name for path in bundle.glob("labels*")] == [opened.manifest.labels.path]


def test_with_edited_labels_the_other_files_are_checked(bundle: Path) -> None:
    golden = open_manifest(bundle).golden
    with (bundle / golden.path).open("ab") as file:
        file.write(b"x")
    assert relabel.broken_labels(bundle, open_manifest(bundle)) is None
    (bundle / "labels.txt").unlink()
    with pytest.raises(BundleError, match=golden.path):
        relabel.broken_labels(bundle, open_manifest(bundle))


def test_a_changed_manifest_is_not_signed_again(bundle: Path) -> None:
    raw = (bundle / MANIFEST).read_bytes().replace(b'"tiny', b'"tidy')
    (bundle / MANIFEST).write_bytes(raw)
    with pytest.raises(BundleError, match="was changed after it was written"):
        write_labels(bundle, NEW, "a test")
    assert (bundle / MANIFEST).read_bytes() == raw


def test_what_killed_ones_left_goes(bundle: Path) -> None:
    """A relabelling killed before its manifest was there leaves its names, and, while it writes, a hidden folder."""
    (bundle / "labels-0123456789ab.txt").write_text("never named")
    (bundle / "labels of mine.txt").write_text("keep")
    hidden = bundle / ".labels-ba9876543210.txt.partial-abcd"
    hidden.mkdir()
    (hidden / LOCK).touch()
    (hidden / "labels-ba9876543210.txt").write_text("half")
    write_labels(bundle, NEW, "a test")
    assert sorted(path.name for path in bundle.iterdir() if path.name.startswith((".", "labels"))) == [
        "labels of mine.txt",
        open_bundle(bundle).manifest.labels.path,
    ]


def test_two_at_once_take_turns(bundle: Path) -> None:
    """Each has its own names, round by round; whichever is last, the bundle is whole."""
    code = (
        "import sys; from pathlib import Path; from sacvit_deploy.bundle.relabel import write_labels\n"
        "for turn in range(20): write_labels(Path(sys.argv[1]), [f'{sys.argv[2]} {turn} {n}' for n in range(10)], 'x')"
    )
    racing = [subprocess.Popen([sys.executable, "-c", code, str(bundle), name]) for name in ("one", "other")]
    assert [process.wait(120) for process in racing] == [0, 0]
    opened = open_bundle(bundle)
    assert opened.labels[0] in ("one 19 0", "other 19 0")
    assert {path.name for path in bundle.iterdir()} == {MANIFEST, *(entry.path for entry in opened.entries())}


def test_access_stays(bundle: Path) -> None:
    root = os.geteuid() == 0
    for path in (bundle / MANIFEST, bundle / "labels.txt"):
        path.chmod(0o640)
        if root:
            os.chown(path, -1, 12345)
    group = (bundle / MANIFEST).stat().st_gid
    write_labels(bundle, NEW, "a test")
    for path in (bundle / MANIFEST, bundle / open_bundle(bundle).manifest.labels.path):
        assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o640, group)
