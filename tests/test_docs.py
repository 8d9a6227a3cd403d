"""The documents: links lead somewhere, commands name what there is, the demo's table marks the wrong answers."""

from __future__ import annotations

import csv
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacvit_deploy.commands.group import COMMANDS, load_command

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "cpp/*.md")
    for path in REPOSITORY.glob(pattern)
)
FENCED = re.compile(r"^```.*?^```$|^(?: {4}[^\n]+\n)+", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
SHORT_FORMS = {"sacvit-export": "export", "sacvit-infer": "infer"}


def read(document: str) -> str:
    """Return a document's text."""
    return (REPOSITORY / document).read_text(encoding="utf-8")


def anchors(document: str) -> set[str]:
    """Return the anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", read(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands(document: str) -> Iterator[str]:
    """Give every line of code that begins with a command, from blocks and from inline code, continuations joined."""
    text = read(document)
    code = [match[0] for match in FENCED.finditer(text)] + re.findall(r"`([^`]+)`", FENCED.sub("", text))
    for part in code:
        for line in part.replace("\\\n", " ").splitlines():
            command = line.partition(" #")[0].strip()
            if re.match(r"(sacvit|sacvit-\w+|python|make) ", command):
                yield command


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for match in LINK.finditer(FENCED.sub("", read(document))):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (REPOSITORY / document).parent / name if name else REPOSITORY / document
        assert path.exists(), f"{document} links to {target}"
        if anchor:
            linked = path.resolve().relative_to(REPOSITORY).as_posix()
            assert anchor in anchors(linked), f"{document} links to {target}"


@pytest.mark.parametrize("document", [document for document in DOCUMENTS if document != "CHANGELOG.md"])
def test_commands_name_what_there_is(document: str) -> None:
    makefile = read("Makefile")
    for command in commands(document):
        program, *arguments = command.split()
        if program == "make":
            targets = [word for word in arguments if re.fullmatch(r"[a-z][\w-]*", word)]
            assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets[:1]), command
        elif program == "python" and arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), command
        elif program == "python" and arguments[0].endswith(".py"):
            assert (REPOSITORY / arguments[0]).is_file(), command
        elif program != "python":
            name = SHORT_FORMS.get(program) or arguments.pop(0)
            assert name in COMMANDS, command
            options = {option for parameter in load_command(name).params for option in parameter.opts} | {"--help"}
            assert {word for word in arguments if word.startswith("--")} <= options, command


def test_demo_table_marks_the_wrong_answers() -> None:
    with (REPOSITORY / "examples/truth.csv").open(encoding="utf-8") as file:
        truth = {row["file"]: row["label"] for row in csv.DictReader(file)}
    for document, count in (("docs/install.md", len(truth)), ("docs/results.md", 12)):
        rows = re.findall(r"^\S+/(\d\d_\S+) +(\S+) +[\d.]+%.*?( x)?$", read(document), re.MULTILINE)
        assert len(rows) == count
        assert [file for file, label, mark in rows if (label != truth[file]) != bool(mark)] == []


def test_examples_that_documents_name_are_there() -> None:
    for document in DOCUMENTS:
        if document not in ("CHANGELOG.md", "docs/results.md"):  # they name former files
            for name in re.findall(r"\b\d\d_[\w-]+_(?:small|medium|large)\.\w+", read(document)):
                assert (REPOSITORY / "examples/pictures" / name).is_file(), f"{document} names {name}"


def test_cpp_files_that_documents_name_are_there() -> None:
    for document in DOCUMENTS:
        for name in re.findall(r"\bcpp/(?:src|include|tests|examples)/[\w/]+\.\w+", read(document)):
            assert (REPOSITORY / name).is_file(), f"{document} names {name}"
