"""The table of `sacvit infer`: a row for each image, fitted to the terminal's width."""

from __future__ import annotations

import os
import shutil
from typing import TextIO

from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.prediction import Prediction

USUAL = 80  # columns, at which nothing is cut but long paths
NAME, LABEL = 36, 20  # columns of the image and its label
REST = USUAL - NAME - LABEL  # of the probability, the stage, the milliseconds and the blanks
LEAST = 12  # columns of a name or label in a narrow terminal


class AnswerTable:
    """Prints answers as rows. columns: of the terminal; None where there is none.

    In a terminal that is narrower than USUAL the names get shorter, and labels are cut, too, down to 48 columns.
    """

    def __init__(self, columns: int | None) -> None:
        self._narrow = columns is not None and columns < USUAL
        free = max(2 * LEAST, min(columns or USUAL, USUAL) - REST)
        self._label = max(LEAST, round(free * LABEL / (NAME + LABEL)))
        self._name = free - self._label

    def head(self) -> None:
        """Print the columns' names."""
        self._print("image", "label", "prob", "stage", "ms")

    def rows(self, prediction: Prediction, topk: int) -> None:
        """Print one answer, a row for each of its `topk` classes."""
        stage = "1 EE" if prediction.stage == 1 else "2 SAC"
        # Another machine's answer may come without times.
        milliseconds = f"{1000 * sum(prediction.timing.values()):.1f}" if prediction.timing else "-"
        for rank, (label, probability) in enumerate(prediction.topk(topk)):
            name = shortened(printable(prediction.source), self._name) if rank == 0 else ""
            tail = (stage, milliseconds) if rank == 0 else ("", "")
            label = printable(label)
            if self._narrow and len(label) > self._label:
                label = f"{label[: self._label - 3]}..."
            self._print(name, label, f"{probability:.1%}", *tail)

    def _print(self, name: str, label: str, probability: str, stage: str, milliseconds: str) -> None:
        row = f"{name:<{self._name}} {label:<{self._label}} {probability:>6}  {stage:<5} {milliseconds:>8}"
        say(row.rstrip())


def terminal_columns(out: TextIO) -> int | None:
    """Return the width of the terminal that a stream writes to, or None."""
    return shutil.get_terminal_size().columns if out.isatty() else None


def shortened(source: str, width: int) -> str:
    """Shorten a path to a width: keep its end, cut at a folder if the file name fits."""
    if len(source) <= width:
        return source
    name = os.path.basename(source)
    return f".../{name}" if len(name) <= width - 4 else f"...{source[3 - width :]}"
