"""Lines of text that are more than names: numbers, ids, tables, and other formats."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacvit_deploy.bundle.label_file import read_labels
from sacvit_deploy.bundle.label_lines import from_lines
from sacvit_deploy.errors import LabelError

CUT = "cut the numbers 0 to 2 before the names"


@pytest.mark.parametrize(
    "text",
    ["0 cat\n1 dog\n2 owl", "0: cat\n1: dog\n2: owl", "0,cat\n1,dog\n2,owl", "0\tcat\n1\tdog\n2\towl",
     "0. cat\n1. dog\n2. owl", "0 - cat\n1 - dog\n2 - owl", "0) cat\n1) dog\n2) owl", "000 cat\n001 dog\n002 owl",
     '0,"cat"\n1,"dog"\n2,"owl"', "0=cat\n1=dog\n2=owl", "0;cat\n1;dog\n2;owl"],
)  # fmt: skip
def test_numbers_before_the_names_are_cut(text: str) -> None:
    names, notes = from_lines(text, ".txt")
    assert names == ["cat", "dog", "owl"] and notes[0] == CUT


def test_the_order_of_the_numbers_counts() -> None:
    names, notes = from_lines("2 owl\n0 cat\n1 dog", "")
    assert names == ["cat", "dog", "owl"] and "in the order of their numbers" in notes[1]
    names, notes = from_lines("cat 2\ndog 0\nbarn owl 1", "")
    assert names == ["dog", "barn owl", "cat"] and notes[0] == "cut the numbers 0 to 2 behind the names"
    names, notes = from_lines("1: cat\n2: dog", ".txt")
    assert names == ["cat", "dog"] and "begin with 1, which names class 0" in notes[1]


@pytest.mark.parametrize(
    "lines",
    [["thing 0", "thing 1", "thing 2"], ["0", "1", "2"], ["101 dalmatians", "cat"], ["area 51", "cat"],
     ["a: b", "c: d"], ["tench, Tinca tinca", "goldfish, Carassius auratus"], ["3d printer", "2d plotter"],
     ["[pad]", "[unknown]"], ["n01440764", "n01443537"], ["'til", "dog"], ["-", "a"]],
)  # fmt: skip
def test_names_that_only_look_numbered_stay(lines: list[str]) -> None:
    assert from_lines("\n".join(lines), ".txt") == (lines, [])


def test_numbers_that_count_nothing_are_said() -> None:
    names, notes = from_lines("12 inch pizza\n14 inch pizza", ".txt")
    assert names == ["12 inch pizza", "14 inch pizza"] and "took the whole lines" in notes[0]


def test_comments_count_and_are_said() -> None:
    assert from_lines("# pets\ncat", "") == (["# pets", "cat"], ["line 1, '# pets', counts as a name"])


def test_imagenets_ids_are_cut() -> None:
    text = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n"
    names, notes = from_lines(text, ".txt")
    assert names == ["tench, Tinca tinca", "crane (n02012849)", "crane (n03126707)"]
    assert notes == ["cut the ids before the names, n01440764 first"]
    names, notes = from_lines("n02119789 1 kit_fox\nn02100735 2 English_setter", ".txt")  # as ImageNet's devkit has it
    assert names == ["kit_fox", "English_setter"]
    assert "not in ascending order" in notes[1] and notes[2] == "cut the numbers 1 to 2 before the names"


@pytest.mark.parametrize(
    ("suffix", "text", "note"),
    [
        (".csv", "id,name\n1,dog\n0,cat\n", "left out the heading `id, name`"),
        (".csv", "name,class_id\ncat,0\ndog,1\n", "left out the heading"),
        (".csv", 'wnid,words\nn01440764,"cat"\nn01443537,dog\n', "left out the heading"),
        (".tsv", "0\tcat\n1\tdog\n", "cut the numbers"),
        (".csv", "index,wnid,name\n0,n01440764,cat\n1,n01443537,dog\n", "left out the heading `index, wnid, name`"),
        (".csv", "label\ncat\ndog\n", "left out the heading `label`"),
        (".txt", "index name\n0 cat\n1 dog\n", "left out the heading `index name`"),
        (".txt", '"cat",\n"dog"\n', "cut the commas behind the lines"),
        (".txt", "'cat'\n'dog'\n", "cut the quotes"),
        (".txt", "cat,\ndog\n", "cut the commas"),
        (".txt", "cat: 0\ndog: 1\n", "cut the numbers 0 to 1 behind the names"),
        (".txt", "'cat': 0,\n'dog': 1,\n", "cut the commas"),
        (".csv", "cat,0\ndog,1\n", "cut the numbers 0 to 1 behind the names"),
        (".csv", ",name\n0,cat\n1,dog\n", "left out the heading"),
        (".txt", "- cat\n- dog\n", "cut the '-' before the names"),
    ],
)
def test_tables_and_lists(suffix: str, text: str, note: str) -> None:
    names, notes = from_lines(text, suffix)
    assert names == ["cat", "dog"] and notes[0].startswith(note)


@pytest.mark.parametrize(
    ("suffix", "text", "match"),
    [
        (".txt", '{"id": 0, "name": "cat"}\n{"id": 1, "name": "dog"}', "a JSON object a line; give a text file"),
        (".txt", "{0: cat,\n1: dog}", "neither JSON nor a Python literal"),
        (".txt", "['cat',\n dog]", "neither JSON nor a Python literal"),
        (".txt", "names:\n  0: cat\n  1: dog", "line 1, 'names:', is no name, but part of YAML"),
        (".txt", "nc: 2\nnames: [cat, dog]", "line 2, 'names: .cat, dog.', is no name"),
        (".txt", "[classes]\n0=cat\n1=dog", "a file of settings, by its first line"),
        (".txt", "item {\n  id: 1\n  name: 'cat'\n}", "line 1, 'item {', is no name"),
        (".txt", "<!DOCTYPE html>\n<p>cat", "web page"),
        (".txt", "tench\tTinca tinca\ncat\tFelis", "it is a table, 'tench.*', and nothing tells which column"),
        (".csv", "cat,brown\ndog,black", "it is a table, 'cat.*brown', and nothing tells"),
        (".csv", "id,name,colour\n0,cat,brown\n1,dog,black", "it is a table, 'id.*colour', and nothing tells"),
        (".csv", "tench, Tinca tinca\ncat", r"row 2 has another number of columns \(1\) than row 1 \(2\)"),
        (".txt", "0: cat\n1: dog\n3: owl", "3 lines are numbered, but none has the number 2"),
        (".txt", "0,cat\n0,dog", "none has the number 1"),
        (".txt", "n01440764 a\nn01440764 b", "n01440764 occurs more than once"),
    ],
)
def test_other_formats_are_refused(suffix: str, text: str, match: str) -> None:
    with pytest.raises(LabelError, match=match):
        from_lines(text, suffix)


@pytest.mark.parametrize("name", ["a.yaml", "a.jsonl", "a.xml", "a.py", "a.pt", "a.XLSX"])
def test_formats_are_refused_by_their_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("cat\ndog\n")
    with pytest.raises(LabelError, match=rf"{name} is .* by its name.*one name a line"):
        read_labels(tmp_path / name, 2)


PIECES = st.sampled_from(
    ["a", "b", "0", "1", "n01440764", ",", ":", "\t", " ", "'", '"', "[", "{", "-", "#", "=", "\n", "\r"]
)


@given(st.lists(PIECES | st.characters(exclude_categories=[])).map("".join), st.sampled_from(["", ".csv", ".tsv"]))
def test_any_text_is_names_or_a_refusal(text: str, suffix: str) -> None:
    try:
        names, notes = from_lines(text, suffix)
    except LabelError as error:
        assert str(error)
    else:
        assert len(names) <= text.count("\n") + 1 and all(notes)


def test_notes_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 cat\n1 dog\n")
    assert read_labels(tmp_path / "a.txt", 2) == (
        ["cat", "dog"],
        [f"{tmp_path / 'a.txt'}: cut the numbers 0 to 1 before the names"],
    )
    with pytest.raises(LabelError, match=r"a.txt has 2 labels for 3 classes \(.*cut the numbers.*\); give each class"):
        read_labels(tmp_path / "a.txt", 3)
