"""Names of classes in the content of JSON files, pickles and Python literals, in the shapes that libraries write."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

from sacvit_deploy.console.text import listed
from sacvit_deploy.errors import LabelError

# Under these keys files hold number -> name, name -> number, or a list; see `from_json`.
KEYS = ("id2label", "label2id", "idx_to_class", "class_to_idx", "label_names", "class_names", "classes", "labels")
LITERAL_LIMIT = 4 << 20  # characters; Python takes some hundred bytes for each of a literal
LARGEST = 10**9  # a class's number is far below
SHAPES = 'a list of names, {"0": name}, {name: 0}, or a config.json with id2label or label_names'


def from_json(data: Any) -> list[str] | None:
    """Return the names in a file's content, in any of `SHAPES`, or None where it has none. Raises LabelError."""
    if isinstance(data, Mapping):
        data = _flat(data)
        for key, found in _entries(data):
            if (names := from_json(found)) is not None:
                descriptions = data.get("label_descriptions") if key == "label_names" else None
                return described(names, descriptions) if isinstance(descriptions, Mapping) else names
        if data and all(_whole(value) for value in data.values()):
            return _by_name(data)
        if data and all(_decimal(key) for key in data):
            return _ordered({int(key): value for key, value in data.items()}, len(data))
        if data and all(_decimal(value) for value in data.values()):
            return _by_name(data)
        return None
    if not isinstance(data, (list, tuple)):
        return None
    if data and all(isinstance(item, str) for item in data):
        return list(data)
    pairs = [item for item in data if isinstance(item, (list, tuple)) and len(item) == 2]
    if data and len(pairs) == len(data) and all(isinstance(text, str) for pair in pairs for text in pair):
        return described(
            [pair[0] for pair in pairs], {pair[0]: pair[1] for pair in pairs}
        )  # Keras: synset id and words
    return None


def disagreements(data: Mapping[str, Any]) -> list[str]:
    """Return a note for each entry that numbers the classes differently from the first, which counts."""
    tables: dict[str, dict[int, str]] = {}
    for key, found in _entries(_flat(data)):
        if key not in ("label_names", "labels") and (table := _numbered(found)):
            tables[key] = table
    first, *others = tables or [""]
    return [
        f"its {first} and {other} number the classes differently; took {first}"
        for other in others
        if any(tables[first].get(number, name) != name for number, name in tables[other].items())
    ]


def described(names: Sequence[str], descriptions: Mapping[Any, Any]) -> list[str]:
    """Return the descriptions of names such as synset ids; the name stands behind one that several classes share.

    Raises LabelError for a description that is no text.
    """
    strange = next((name for name in names if not isinstance(descriptions.get(name, ""), (str, type(None)))), None)
    if strange is not None:
        raise LabelError(f"the description of {strange!r:.40} is no text")
    words = [(descriptions.get(name) or name).strip() for name in names]
    counts = Counter(words)
    return [word if counts[word] == 1 else f"{word} ({name})" for word, name in zip(words, names, strict=True)]


def parsed(text: str) -> Any:
    """Parse JSON, or else a Python literal, as ImageNet's names are often passed on; None where it is neither.

    Raises LabelError for an object with a repeated key.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        pass
    if len(text) > LITERAL_LIMIT:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _flat(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a file's entries, with those of timm's pretrained_cfg, which may hold the names one level down."""
    inner = data.get("pretrained_cfg")
    return {**inner, **data} if isinstance(inner, Mapping) else data


def _entries(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the entries that may name classes, in the order in which they count."""
    found = ((key, data.get(key)) for key in KEYS)
    return [(key, value) for key, value in found if value and isinstance(value, (list, tuple, Mapping))]


def _numbered(found: Any) -> dict[int, str]:
    """Return number -> name of one entry; nothing for one that is none, or has two names for a number."""
    if isinstance(found, (list, tuple)) and all(isinstance(name, str) for name in found):
        return dict(enumerate(found))
    if not isinstance(found, Mapping):
        return {}
    if all(_whole(value) for value in found.values()):
        return {int(number): str(name) for name, number in found.items()}
    if all(_decimal(key) for key in found) and all(isinstance(value, str) for value in found.values()):
        return {int(key): value for key, value in found.items()}
    return {}


def _whole(value: Any) -> bool:
    """Tell whether a value is a whole number that could be a class's, numpy's included."""
    return isinstance(value, Integral) and not isinstance(value, bool) and -LARGEST < int(value) < LARGEST


def _decimal(value: Any) -> bool:
    """Tell whether a value, a key as a rule, is a whole number or its digits."""
    return _whole(value) or (isinstance(value, str) and value.isdecimal() and len(value) < 10)


def _by_name(numbers: Mapping[Any, Any]) -> list[str] | None:
    """Return the names in the order of the numbers that they are given."""
    strange = next((name for name in numbers if not isinstance(name, str) and not _whole(name)), None)
    if strange is not None:
        raise LabelError(f"class {numbers[strange]} is named {strange!r:.40}, which is no text")
    return _ordered({int(number): str(name) for name, number in numbers.items()}, len(numbers))


def _ordered(by_number: Mapping[int, Any], count: int) -> list[str] | None:
    """Return the names in the order of their numbers, which must be 0 to count - 1; None where they are no names."""
    missing = next((number for number in range(count) if number not in by_number), None)
    if missing is not None:
        raise LabelError(f"{count} classes are numbered, but none has the number {missing}")
    values = [by_number[number] for number in range(count)]
    strange = next((number for number, value in enumerate(values) if not isinstance(value, str)), None)
    if strange is not None and any(isinstance(value, str) for value in values):
        raise LabelError(f"class {strange} is named {values[strange]!r:.40}, which is no text")
    return from_json(values)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if repeated:
        raise LabelError(f"{listed([repr(key) for key in repeated])} occurs more than once")
    return dict(pairs)
