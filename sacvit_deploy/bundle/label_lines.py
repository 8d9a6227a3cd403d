"""Names of classes in lines of text: plain, numbered, behind ImageNet's ids, in quotes, or in a table's column."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence

from sacvit_deploy.bundle.label_json import described
from sacvit_deploy.errors import LabelError

Lines = tuple[list[str], list[str]]  # lines, and notes on what was cut from them
TAB = "\t"
TABLES = {".csv": ",", ".tsv": TAB}
WAY_OUT = "give a text file with one name a line, or JSON"
# Words of a table's first row.
HEADINGS = {"id", "idx", "index", "number", "class", "classid", "class_id", "class_name", "classes", "name", "names"}
HEADINGS |= {"label", "labels", "labelid", "label_id", "label_name", "synset", "wnid", "words", "description", ""}
# A mark between number and name; white space alone is a weaker one, since names may begin with numbers.
MARK = r"\s*[:;,|=\t)]\s*|\.\s+|\s+-\s+"
NUMBER_FIRST = re.compile(rf"(\d{{1,9}})(?:({MARK})|\s+|\.)(\S.*)")
NUMBER_LAST = re.compile(rf"(.*[^\s:;,|=])(?:({MARK})|\s+)(\d{{1,9}})")
SYNSET = re.compile(rf"(n\d{{8}})(?:{MARK}|\s+)(\S.*)")
QUOTED = re.compile(r"(?P<quote>[\"'])(.*)(?P=quote)")
COMMENT = re.compile(r"#\s|//")
BULLET = re.compile(r"[-*\u2022]\s+(.+)")


def from_lines(text: str, suffix: str) -> Lines:
    """Return the names in a text, one a line, in the order of the classes, and notes on what was cut from the lines.

    suffix: of the file, in lower case: .csv and .tsv are tables. Raises LabelError for a text of another format, for
    empty lines, and for numbers with gaps.
    """
    lines = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    empty = next((number for number, line in enumerate(lines, start=1) if not line), None)
    if empty is not None:
        raise LabelError(f"line {empty} is empty; give each class one line")
    if not lines:
        return [], []
    _refuse_formats(lines)
    notes = [f"line {at}, {line!r:.60}, counts as a name" for at, line in enumerate(lines, 1) if COMMENT.match(line)][
        :3
    ]
    if suffix in TABLES or all("\t" in line for line in lines):
        lines = _rows(lines, TABLES.get(suffix, "\t"))
    headings = _headings(lines[0])
    if headings and (len(headings) > 1 or suffix in TABLES) and len(lines) > 1:
        notes.append(f"left out the heading `{lines[0].replace(TAB, ', ')}`")
        lines = lines[1:]
    for step in (
        _without_commas,
        _unquoted,
        _without_bullets,
        _without_synsets,
        _without_numbers,
        _without_synsets,
        _unquoted,
    ):
        lines, told = step(lines)
        notes += told
    if table := next((line for line in lines if TAB in line), None):
        raise LabelError(f"it is a table, {table!r:.60}, and nothing tells which column holds the names; {WAY_OUT}")
    return lines, notes


def _refuse_formats(lines: Sequence[str]) -> None:
    """Raise LabelError for what is no list of names, though every line could be one."""
    first, last = lines[0], lines[-1]
    if all(line.startswith("{") and line.endswith("}") for line in lines) and ":" in first:
        raise LabelError(f"it holds a JSON object a line; {WAY_OUT}")
    if (first[0] == "{" and last[-1] == "}" and "}" not in first) or (
        first[0] == "[" and last[-1] in "]," and "]" not in first
    ):
        raise LabelError(f"it begins with {first[0]!r}, but is neither JSON nor a Python literal; {WAY_OUT}")
    if re.match(r"<(\?xml|!doctype|html)", first, re.IGNORECASE):
        raise LabelError(f"it is a web page or XML; {WAY_OUT}")
    if re.fullmatch(r"\[[\w .-]+\]", first) and len(lines) > 1 and all("=" in line for line in lines[1:]):
        raise LabelError(f"it is a file of settings, by its first line, {first!r}; {WAY_OUT}")
    code = r"[A-Za-z]\w* ?\{" if "}" in lines else r"[A-Za-z]\w*:(\s*[\[{].*)?|---"
    for number, line in enumerate(lines, start=1):
        if re.fullmatch(code, line):
            raise LabelError(f"line {number}, {line!r}, is no name, but part of YAML or of a program; {WAY_OUT}")


def _rows(lines: Sequence[str], separator: str) -> list[str]:
    """Return the rows of a table with tabs between their cells. Raises LabelError where rows differ in length."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
    except csv.Error as error:
        raise LabelError(f"it is no whole table ({error}); {WAY_OUT}") from error
    if odd := next((number for number, row in enumerate(rows, start=1) if len(row) != len(rows[0])), None):
        raise LabelError(
            f"it is a table, whose row {odd} has another number of columns ({len(rows[odd - 1])}) than row 1 "
            f"({len(rows[0])}); {WAY_OUT}"
        )
    return ["\t".join(row) for row in rows]


def _headings(line: str) -> list[str]:
    """Return the words of a table's first row, none for a row of content."""
    words = [word.strip("\"'").lower() for word in re.split(r"[\s,;|]+", line)]
    return words if HEADINGS.issuperset(words) else []


def _without_commas(lines: list[str]) -> Lines:
    if len(lines) > 1 and all(line[-1] == "," for line in lines[:-1]):
        return [line.rstrip(", ") for line in lines], ["cut the commas behind the lines"]
    return lines, []


def _unquoted(lines: list[str]) -> Lines:
    found = [QUOTED.fullmatch(line) for line in lines]
    cut = [match[2] for match in found if match]
    return (cut, ["cut the quotes around the names"]) if len(cut) == len(lines) else (lines, [])


def _without_bullets(lines: list[str]) -> Lines:
    cut = [match[1] for match in map(BULLET.fullmatch, lines) if match]
    return (cut, [f"cut the {lines[0][0]!r} before the names"]) if len(cut) == len(lines) else (lines, [])


def _without_synsets(lines: list[str]) -> Lines:
    """Cut ImageNet's ids before names, as its own lists have them; a name of several classes keeps its id."""
    found = [match for match in map(SYNSET.fullmatch, lines) if match]
    if len(found) < len(lines):
        return lines, []
    ids = [match[1] for match in found]
    if twice := next((name for name, count in Counter(ids).items() if count > 1), None):
        raise LabelError(f"{twice} occurs more than once")
    notes = [f"cut the ids before the names, {ids[0]} first"]
    if ids != sorted(ids):
        notes.append(
            "its ids are not in ascending order, as the classes of a model trained on folders are; the order of the "
            "lines was taken"
        )
    return described(ids, {match[1]: match[2].strip() for match in found}), notes


def _without_numbers(lines: list[str]) -> Lines:
    """Put numbered names into the order of their numbers, and cut these. Raises LabelError for gaps behind a mark."""
    found = [match for match in map(NUMBER_FIRST.fullmatch, lines) if match]
    if len(found) == len(lines):
        numbers, marked = [int(match[1]) for match in found], all(match[2] for match in found)
        if (start := _start(numbers)) is not None:
            return _sorted(numbers, [match[3].strip() for match in found], start, "before")
        if marked:
            missing = next(number for number in range(len(lines)) if number not in numbers)
            raise LabelError(f"its {len(lines)} lines are numbered, but none has the number {missing}")
        return lines, ["every line begins with a number, but not each with its own from 0 on: took the whole lines"]
    found = [match for match in map(NUMBER_LAST.fullmatch, lines) if match]
    if len(found) == len(lines):
        numbers, names = [int(match[3]) for match in found], [match[1].strip() for match in found]
        # `thing 0`, `thing 1` are names as they are.
        if (start := _start(numbers)) is not None and len(set(names)) == len(names) > 1:
            return _sorted(numbers, names, start, "behind")
    return lines, []


def _start(numbers: Sequence[int]) -> int | None:
    """Return 0 or 1 where the numbers count all lines from there, in any order; else None."""
    start = min(numbers)
    return start if start in (0, 1) and sorted(numbers) == list(range(start, start + len(numbers))) else None


def _sorted(numbers: Sequence[int], names: Sequence[str], start: int, side: str) -> Lines:
    ordered = [name for _, name in sorted(zip(numbers, names, strict=True))]
    notes = [f"cut the numbers {start} to {max(numbers)} {side} the names"]
    if start:
        notes.append("its numbers begin with 1, which names class 0")
    if list(numbers) != sorted(numbers):
        notes.append("the names are in the order of their numbers, not of the lines")
    return ordered, notes
