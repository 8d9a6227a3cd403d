"""Class names from the files and folders that people have."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.bundle.label_file import check_names, read_labels
from sacvit_deploy.bundle.label_json import disagreements, from_json
from sacvit_deploy.errors import LabelError

NAMES = ["tench", "großer Hai", "猫"]
CONFIG = {"model_type": "vit", "id2label": {"0": "tench", "1": "großer Hai", "2": "猫"}, "label2id": {"tench": 0}}
WORDS = {"n01": "tench", "n02": "großer Hai", "n03": "猫"}
TIMM = {"architecture": "vit_tiny_patch16_224", "label_names": ["n01", "n02", "n03"], "label_descriptions": WORDS}
letters = st.text(st.characters(codec="utf-8", categories=["L"]), min_size=1, max_size=8)
lines = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=8)
name_lists = st.lists(lines, min_size=1, max_size=12, unique=True)


@pytest.mark.parametrize(
    "raw",
    [
        "tench\ngroßer Hai\n猫\n".encode(),
        "tench\ngroßer Hai\n猫".encode(),
        "\ufefftench\r\ngroßer Hai \r\n猫\r\n\r\n".encode(),
        "tench\rgroßer Hai\r猫\r".encode(),
        "tench\r\ngroßer Hai\r\n猫\r\n".encode("utf-16"),
        "\ufefftench\ngroßer Hai\n猫".encode("utf-16-be"),
    ],
)
def test_text(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(raw)
    assert read_labels(tmp_path / "labels.txt", 3) == (NAMES, [])


@pytest.mark.parametrize(
    "data",
    [
        NAMES,
        {"0": "tench", "1": "großer Hai", "2": "猫"},
        {"2": "猫", "0": "tench", "1": "großer Hai"},
        {"猫": 2, "tench": 0, "großer Hai": 1},
        {"猫": "2", "tench": "0", "großer Hai": "1"},
        {"0": ["n01", "tench"], "1": ["n02", "großer Hai"], "2": ["n03", "猫"]},  # Keras' imagenet_class_index.json
        {"class_to_idx": {"猫": 2, "tench": 0, "großer Hai": 1}, "epoch": 3},
        {"classes": NAMES},
        CONFIG,
        {"model_type": "vit", "label2id": {"猫": 2, "tench": 0, "großer Hai": 1}},
        TIMM,
        {"pretrained_cfg": TIMM},
    ],
)
def test_json(data: Any, tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text(json.dumps(data), encoding="utf-8")
    assert read_labels(tmp_path / "names.json") == (NAMES, [])


def test_a_list_of_python_in_a_text_file_is_no_list_of_lines(tmp_path: Path) -> None:
    (tmp_path / "imagenet.txt").write_text("{0: 'tench',\n 1: 'großer Hai',\n 2: '猫'}", encoding="utf-8")
    assert read_labels(tmp_path / "imagenet.txt", 3)[0] == NAMES
    (tmp_path / "odd.txt").write_text("[unknown]\nknown\n")
    assert read_labels(tmp_path / "odd.txt", 2)[0] == ["[unknown]", "known"]


@given(name_lists, st.randoms())
def test_the_order_of_numbered_names_does_not_count(names: list[str], random: Any) -> None:
    pairs = list(enumerate(names))
    random.shuffle(pairs)
    assert from_json({str(number): name for number, name in pairs}) == names
    assert from_json({"id2label": {number: name for number, name in pairs}}) == names
    assert from_json({name: number for number, name in pairs}) == names


@given(st.lists(letters, min_size=1, max_size=12, unique=True))
def test_text_gives_back_what_was_written(names: list[str]) -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "a.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        assert read_labels(Path(folder) / "a.txt", len(names))[0] == names


def test_folders_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "C", "10", "9", ".cache"):
        (tmp_path / "flat" / name).mkdir(parents=True)
    (tmp_path / "flat" / "notes.txt").write_text("no class")
    assert read_labels(tmp_path / "flat", 5) == (["10", "9", "C", "a", "b"], [])
    for name in ("train/dog", "train/cat", "val/dog"):
        (tmp_path / "split" / name).mkdir(parents=True)
    assert read_labels(tmp_path / "split", 2)[0] == ["cat", "dog"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match="empty has no class folders"):
        read_labels(tmp_path / "empty")


def test_names_of_several_classes_are_listed_not_refused(tmp_path: Path) -> None:
    (tmp_path / "imagenet.txt").write_text("crane\nmaillot\ncrane\nmaillot\nowl\n")
    labels, notes = read_labels(tmp_path / "imagenet.txt", 5)
    assert labels == ["crane", "maillot", "crane", "maillot", "owl"]
    assert len(notes) == 1 and notes[0].endswith("can't tell apart: crane (0 and 2), maillot (1 and 3)")


def test_descriptions_that_several_classes_share_keep_the_synset() -> None:
    words = {"n02012849": "crane", "n03126707": "crane", "n9": "", "n8": "owl"}
    data = {"label_names": ["n02012849", "n03126707", "n9", "n8", "n7"], "label_descriptions": words}
    assert from_json(data) == ["crane (n02012849)", "crane (n03126707)", "n9", "owl", "n7"]


@pytest.mark.parametrize(
    ("name", "raw", "match"),
    [
        ("a.txt", b"a\n\nb\n", "line 2 is empty"),
        ("a.txt", b"\na\nb\n", "line 1 is empty"),
        ("a.txt", b"", "0 labels for 3 classes"),
        ("a.txt", b"a\nb\n", "a.txt has 2 labels for 3 classes"),
        ("a.txt", b"a\nb\x0bc\nd\n", "name of class 1, 'b\\\\x0bc', spans several lines"),
        ("a.txt", "a\n".encode("utf-16-le"), "can't read labels from .*a.txt .*UTF-16.*save it as UTF-8"),
        ("a.txt", "a\n".encode("utf-32"), "can't read labels from .*a.txt .*save it as UTF-8"),
        ("a.txt", "größer".encode("latin-1"), "can't read labels from .*a.txt .*not UTF-8"),
        ("a.json", b"{", "a.json: it holds no labels"),
        ("a.json", b'{"lr": 0.1}', "a.json: it holds no labels"),
        ("a.json", b"[1, 2, 3]", "a.json: it holds no labels"),
        ("a.json", b'["a", "b", ""]', "name of class 2 is empty"),
        ("a.json", b'["a", "b", " "]', "name of class 2 is empty"),
        ("a.json", b'{"0": "a", "1": null, "2": "c"}', "class 1 is named None, which is no text"),
        ("a.json", b'{"0": "a", "1": "b", "3": "c"}', "none has the number 2"),
        ("a.json", b'{"a": 1, "b": 2, "c": 3}', "none has the number 0"),
        ("a.json", b'{"a": 0, "b": 1, "c": 1}', "none has the number 2"),
        ("a.json", b'{"a": 0, "a": 1, "c": 2}', "'a' occurs more than once"),
        ("a.json", b'{"id2label": {"0": "a", "2": "b"}}', "none has the number 1"),
        ("a.json", b"[" * 100000, "a.json: it holds no labels"),
    ],
)
def test_what_is_refused(name: str, raw: bytes, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(LabelError, match=match):
        read_labels(tmp_path / name, 3)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="can't read labels from .*nothing.txt"):
        read_labels(tmp_path / "nothing.txt")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("a\nb", "several lines"),
        ("a\u2028b", "several lines"),
        ("a\r", "several lines"),
        ("a\0b", r"holds an invisible character, U\+0000"),
        ("a\x1b[31m", r"U\+001B"),
        ("a\tb", r"U\+0009"),
        ("a\u202eb", r"U\+202E"),
        ("a\ud83d", r"'a\\ud83d', holds half of a character, U\+D83D"),
        ("x" * 501, "has 501 characters, and 500 are the most"),
        ("\u3000", "is empty"),
    ],
)
def test_names_that_are_no_line_of_text(name: str, match: str) -> None:
    with pytest.raises(LabelError, match=f"x: the name of class 1.*{match}") as refused:
        check_names(["good", name], "x")
    str(refused.value).encode()  # it can be printed


def test_names_that_look_alike_are_said() -> None:
    notes = check_names(["Cat", "dog", "cat", "café", "cafe\u0301", "dog"], "x")
    assert notes[0] == (
        "x: 1 of the names stands for several classes, which answers by name can't tell apart: dog (1 and 5)"
    )
    assert notes[1].startswith("x: names that differ only in case, spaces") and "'Cat' (0) and 'cat' (2)" in notes[1]
    assert len(notes) == 2 and "'café' (3)" in notes[1]


def test_descriptions_that_are_no_text() -> None:
    with pytest.raises(LabelError, match="the description of .n1. is no text"):
        from_json({"label_names": ["n1", "n2"], "label_descriptions": {"n1": ["cat"], "n2": None}})


def test_numbers_of_numpy_and_names_that_are_no_text() -> None:
    assert from_json({"dog": np.int64(1), "cat": np.int64(0)}) == ["cat", "dog"]
    assert from_json({10**5000: 0, "dog": 10**5000}) is None
    for names in ({b"cat": 0, b"dog": 1}, {("cat",): 0}, {0: b"cat", 1: "dog"}):
        with pytest.raises(LabelError, match="class 0 is named .*cat.*, which is no text"):
            from_json(names)


def test_entries_that_disagree_are_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}))
    names, notes = read_labels(tmp_path / "config.json", 2)
    assert names == ["a", "b"]
    assert notes == [
        f"{tmp_path / 'config.json'}: its id2label and label2id number the classes differently; took id2label"
    ]
    # `crane` stands for two classes, so one direction has fewer entries.
    assert disagreements({"id2label": {"0": "crane", "1": "crane"}, "label2id": {"crane": 1}}) == []
