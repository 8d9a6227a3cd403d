"""`sacvit relabel`, without torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from tests.data import record

NO_ENGINE = ("torch", "onnx", "onnxruntime")
OLD = open_bundle(record.BEFORE).labels


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(record.BEFORE, tmp_path / "tiny.sacvit"))


def test_from_a_file_from_a_folder_and_of_the_bundle_nearby(command: Any, bundle: Path, tmp_path: Path) -> None:
    names = [f"Ding {number} ä" for number in range(len(OLD))]
    (tmp_path / "names.json").write_text(json.dumps({name: n for n, name in enumerate(names)}), encoding="utf-8")
    done = command("sacvit", "relabel", bundle, "--labels", tmp_path / "names.json", forbid=NO_ENGINE)
    assert done.stdout == f"{bundle}: 10 classes are now named {', '.join(names[:5])} and 5 more\n"
    opened = open_bundle(bundle)
    assert list(opened.labels) == names
    assert opened.manifest.provenance["notes"][-1] == "labels: from names.json"
    for name in ("owl", "cat", *"abcdefgh"):
        (tmp_path / "data" / name).mkdir(parents=True)
    shutil.move(bundle, command.cwd / "near.sacvit")
    done = command("sacvit", "relabel", "--labels", tmp_path / "data", forbid=NO_ENGINE)
    assert list(open_bundle(command.cwd / "near.sacvit").labels) == sorted(["owl", "cat", *"abcdefgh"])
    done = command("sacvit", "relabel", "--labels", tmp_path / "data", forbid=NO_ENGINE)
    assert done.stdout == "near.sacvit has these labels already\n"
    command("sacvit", "verify", command.cwd / "near.sacvit", "--threads", "1")


def test_names_of_several_classes_are_said(command: Any, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("crane\n" * 2 + "owl\nb\nc\nd\ne\nf\ng\nh\n")
    done = command("sacvit", "relabel", bundle, "--labels", tmp_path / "names.txt", forbid=NO_ENGINE)
    assert done.stderr.startswith("Note: ") and "crane (0 and 1)" in done.stderr


def test_labels_edited_by_hand_are_replaced_and_said(command: Any, bundle: Path, tmp_path: Path) -> None:
    names = "".join(f"{letter}\n" for letter in "abcdefghij")
    (bundle / "labels.txt").write_text(names)
    done = command("sacvit", "relabel", bundle, "--labels", bundle / "labels.txt", forbid=NO_ENGINE)
    assert done.stderr.startswith(f"Note: {bundle / 'labels.txt'} has ") and "other files are as they" in done.stderr
    assert "".join(open_bundle(bundle).labels) == "abcdefghij"


@pytest.mark.parametrize(
    ("content", "match"),
    [("a\nb\n", "2 labels for 10 classes"), ("\n" * 3 + "a\n", "line 1 is empty"), (None, "can't read labels from")],
)
def test_what_is_refused_changes_nothing(
    content: str | None, match: str, command: Any, bundle: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "names.txt").write_text(content)
    raw = (bundle / MANIFEST).read_bytes()
    done = command("sacvit", "relabel", bundle, "--labels", tmp_path / "names.txt", expect=1, forbid=NO_ENGINE)
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and match in done.stderr
    assert (bundle / MANIFEST).read_bytes() == raw and open_bundle(bundle).labels == OLD
    assert "Missing option '--labels'" in command("sacvit", "relabel", bundle, expect=2, forbid=NO_ENGINE).stderr
