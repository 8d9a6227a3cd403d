"""Names of classes from what people keep them in: text files, tables, the JSON of other libraries, class folders."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from sacvit_deploy.bundle.label_folder import from_folder
from sacvit_deploy.bundle.label_json import SHAPES, disagreements, from_json, parsed
from sacvit_deploy.bundle.label_lines import WAY_OUT, from_lines
from sacvit_deploy.console.text import counted, listed
from sacvit_deploy.errors import LabelError
from sacvit_deploy.regular import read_regular

NOTE = "labels: "  # begins every note on where names came from, so that other names replace it
LIMIT = 64 << 20  # bytes
LONGEST = 500  # characters of a name; ImageNet's longest has 122
# Formats that hold names among other things, by their suffixes.
NOT_READ = {
    **dict.fromkeys((".yaml", ".yml"), "YAML"),
    **dict.fromkeys((".jsonl", ".ndjson"), "JSON lines"),
    **dict.fromkeys((".xml", ".html", ".htm"), "XML or HTML"),
    **dict.fromkeys((".toml", ".ini", ".cfg"), "settings"),
    **dict.fromkeys((".py", ".ipynb", ".pbtxt"), "a program or its data"),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".parquet"), "a spreadsheet or a database"),
    **dict.fromkeys((".npy", ".npz", ".pkl", ".pickle", ".mat"), "arrays or a pickle"),
    **dict.fromkeys((".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".onnx"), "weights"),
}
# With them a line is shown in another order than it has, or a name looks like another.
INVISIBLE = re.compile("[\ufeff\u202a-\u202e\u2066-\u2069]")


def read_labels(path: Path, classes: int | None = None) -> tuple[list[str], list[str]]:
    """Read the class names that a file or a folder of class folders holds, in the order of the classes, and notes.

    A text file has one class a line, perhaps with numbers or ImageNet's ids, which are cut and noted; a JSON file has
    one of `SHAPES`; a folder's subfolders count in the order of their names, as torchvision's ImageFolder has them. A
    name that stands for several classes becomes a note: ImageNet's own list has `crane` twice, and only the name is
    lost, not the answer. Raises LabelError for what can't be read, another format, what is no name, and another count
    than `classes`.
    """
    labels, notes = from_folder(path, classes) if path.is_dir() else _from_file(path)
    if classes is not None and len(labels) != classes:
        cut = f" ({notes[0]})" if notes else ""
        raise LabelError(f"{path} has {counted(len(labels), 'label')} for {classes} classes{cut}; give each class one")
    return labels, [*notes, *check_names(labels, str(path))]


def check_names(labels: Sequence[str], source: str) -> list[str]:
    """Return notes that list the names of several classes, and those that look alike, if any.

    Raises LabelError for a name that is no line of text: empty, of several lines, with control characters, or longer
    than `LONGEST`.
    """
    for number, label in enumerate(labels):
        if reason := _no_name(label):
            raise LabelError(f"{source}: the name of class {number}{reason}")
    places: dict[str, list[int]] = {}
    alike: dict[str, dict[str, int]] = {}
    for number, label in enumerate(labels):
        places.setdefault(label, []).append(number)
        alike.setdefault(" ".join(unicodedata.normalize("NFKC", label).casefold().split()), {})[label] = number
    notes = []
    if shared := [f"{label} ({' and '.join(map(str, at))})" for label, at in places.items() if len(at) > 1]:
        notes.append(
            f"{source}: {len(shared)} of the names {'stands' if len(shared) == 1 else 'stand'} for several classes, "
            f"which answers by name can't tell apart: {listed(shared)}"
        )
    if near := [group for group in alike.values() if len(group) > 1]:
        shown = [" and ".join(f"{label!r} ({number})" for label, number in group.items()) for group in near]
        notes.append(f"{source}: names that differ only in case, spaces or the spelling of a letter: {listed(shown)}")
    return notes


def _no_name(label: str) -> str:
    """Return how a name is none, to stand behind `the name of class 3`; an empty text for a good one."""
    if not label.strip():
        return " is empty"
    if label.splitlines() != [label]:
        return f", {label[:40]!r}, spans several lines"
    if len(label) > LONGEST:
        return f", {label[:40]!r}..., has {len(label):,} characters, and {LONGEST} are the most"
    strange = next((c for c in label if unicodedata.category(c) in ("Cc", "Cs") or INVISIBLE.match(c)), None)
    if strange is not None:
        kind = "half of a character" if unicodedata.category(strange) == "Cs" else "an invisible character"
        return f", {label[:40]!r}, holds {kind}, U+{ord(strange):04X}"
    return ""


def _from_file(path: Path) -> tuple[list[str], list[str]]:
    suffix = path.suffix.lower()
    if suffix in NOT_READ and path.exists():
        raise LabelError(f"{path} is {NOT_READ[suffix]} by its name, which labels are not read from; {WAY_OUT}")
    text = _text(path)
    try:
        # People name Python's and JSON's lists .txt, too.
        if suffix == ".json" or text.lstrip().startswith(("{", "[")):
            data = parsed(text)
            labels = from_json(data)
            if labels is not None:
                return labels, [f"{path}: {note}" for note in (disagreements(data) if isinstance(data, dict) else [])]
            if suffix == ".json" or data is not None:
                raise LabelError(f"it holds no labels; JSON with labels is {SHAPES}")
        lines, notes = from_lines(text, suffix)
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error
    return lines, [f"{path}: {note}" for note in notes]


def _text(path: Path) -> str:
    """Read a text file in UTF-8, or in the UTF-16 that its first two bytes announce, as Windows writes it."""
    try:
        raw = read_regular(path, LIMIT)
    except OSError as error:
        raise LabelError(f"can't read labels from {path} ({error.strerror})") from error
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        # Newlines of all systems become one.
        text = raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise LabelError(f"can't read labels from {path} (it is not UTF-8 text; save it as UTF-8)") from error
    if "\0" in text:
        raise LabelError(f"can't read labels from {path} (it holds zeros, as UTF-16 does; save it as UTF-8)")
    return text
