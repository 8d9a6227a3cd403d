"""Answers in files, `--csv` and `--jsonl`: a line at a time, so that a killed run loses none, and can be resumed."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from sacvit_deploy.console.terminal import printable
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.sources.frames import Note

Format = Literal["csv", "jsonl"]
COLUMNS = (
    *("source", "position", "frame", "time", "label", "index", "probability", "stage", "stage_one_probability", "ms"),
    *("eta", "alpha", "precision", "bundle", "fallback", "error"),
)
HEADER = ",".join(COLUMNS) + "\n"
HEADER_LIMIT = 4096  # bytes that are read of a file's first line, which may be anything
# What answers depend on, as it is called in a message. They must be the same in all lines of a file.
CONDITIONS = {"eta": "--eta {}", "alpha": "--alpha {}", "precision": "--precision {}", "bundle": "the former bundle"}


class AnswerFile:
    """A file that answers are appended to, each as one line in one write.

    resume: go on with the answers that are there; without it, an existing file is refused. conditions: the values of
    CONDITIONS in this run. Raises UsageError for a file that can't be continued, SacvitError for one that can't be
    written.
    """

    def __init__(self, path: Path, form: Format, *, resume: bool, conditions: Mapping[str, Any], note: Note) -> None:
        self._path, self._form = path, form
        self.done: set[str] = set()
        try:
            exists = path.exists()
            special = exists and not stat.S_ISREG(path.stat().st_mode)  # /dev/stdout, a pipe
            if exists and not special:
                self._check_columns()
            if exists and not special and not resume and not self._is_blank():
                raise UsageError(f"{path} exists; --resume goes on with it, or name another file")
            if exists and not special:
                self._continue(conditions, note)
            self._file = path.open("wb" if special else "ab", buffering=0)
            if form == "csv" and (special or path.stat().st_size == 0):
                self._append(HEADER)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append the line of one answer, unless it is there already. Raises SacvitError."""
        if self.has(record["source"]):
            return
        line = _csv_line(record) if self._form == "csv" else json.dumps(record) + "\n"
        try:
            self._append(line)
        except OSError as error:
            raise self._failure(error) from error

    def has(self, source: str) -> bool:
        """Whether an image was answered before."""
        return (_escaped(source) if self._form == "csv" else source) in self.done

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _check_columns(self) -> None:
        """Raise UsageError for the columns of another version of this command: lines of two kinds make no table."""
        if self._form == "jsonl":
            return
        with self._path.open("rb") as file:
            columns = file.readline(HEADER_LIMIT).decode("utf-8", "replace").rstrip("\n").split(",")
        known = {"source", "label", "probability", *CONDITIONS} <= set(columns)
        if known and columns[-1] == "error" and tuple(columns) != COLUMNS:
            raise UsageError(f"{self._path} has the columns of another version of sacvit-deploy; name another file")

    def _is_blank(self) -> bool:
        """Whether a file has no line of an image: that is what a run leaves which failed at its start."""
        header = HEADER.encode() if self._form == "csv" else b""
        with self._path.open("rb") as file:
            return file.read(len(header) + 1) in (b"", header)

    def _append(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace")
        while data:
            data = data[self._file.write(data) :]

    def _failure(self, error: OSError) -> SacvitError:
        return SacvitError(f"can't write {self._path}: {error.strerror or error}")

    def _continue(self, conditions: Mapping[str, Any], note: Note) -> None:
        """Read the answers that are there, and cut off a last line that a killed run left unfinished."""
        whole = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                self._take(line, number, conditions)
        if whole < self._path.stat().st_size:
            note(f"the last line of {self._path} was not finished; it is written anew")
            os.truncate(self._path, whole)

    def _take(self, line: bytes, number: int, conditions: Mapping[str, Any]) -> None:
        """Remember the answer in a line, if it has one; an image that failed is tried again."""
        record = _parsed(line, self._form)
        if record is None or "source" not in record:
            raise UsageError(f"line {number} of {self._path} is no answer of this command; name another file")
        if record == dict(zip(COLUMNS, COLUMNS, strict=True)) or record.get("error"):
            return
        for name, words in CONDITIONS.items():
            before, now = record.get(name), conditions[name]
            if str(before) != str(now):
                raise UsageError(
                    f"{self._path} has answers with {name} {before}, here it is {now}; take {words.format(before)}, or "
                    "name another file"
                )
        self.done.add(record["source"])


def _csv_line(record: Mapping[str, Any]) -> str:
    """Format a line of CSV; line breaks within a value are escaped, so that a line is a record."""
    out = io.StringIO()
    if record.get("timing_ms"):  # not there of an error, empty where another machine gave no times
        record = {**record, "ms": round(sum(record["timing_ms"].values()), 3)}
    values = (record.get(column) for column in COLUMNS)
    csv.writer(out, lineterminator="\n").writerow(
        [_escaped(value) if isinstance(value, str) else value for value in values]
    )
    return out.getvalue()


def _escaped(text: str) -> str:
    """Return a text on one line, another one for each text; Windows has no names with backslashes or line breaks."""
    return printable(text if os.sep == "\\" else text.replace("\\", "\\\\"))


def _parsed(line: bytes, form: Format) -> dict[str, Any] | None:
    """Read a line; None for one of another kind."""
    try:
        text = line.decode("utf-8")
        if form == "jsonl":
            record = json.loads(text)
            return record if isinstance(record, dict) else None
        rows: Iterator[list[str]] = csv.reader([text])
        return dict(zip(COLUMNS, next(rows), strict=True))
    except (ValueError, csv.Error, StopIteration):
        return None
