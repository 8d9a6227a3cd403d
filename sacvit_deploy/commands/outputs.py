"""Where the answers of `sacvit infer` go: rows or JSON on standard output, files, drawings; and their count."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import click

from sacvit_deploy.commands.answer_files import AnswerFile
from sacvit_deploy.commands.answer_table import AnswerTable
from sacvit_deploy.commands.drawing import Drawing
from sacvit_deploy.commands.feed import Taken
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.prediction import Prediction


class Outputs:
    """Takes the answers of a run one by one.

    table: prints rows; None prints a line of JSON instead. conditions: what answers depend on, repeated in JSON and
    files. Counts the images that were answered, that failed, that continued to stage 2, for which stage 1 stood in for
    it, and whose drawing failed.
    """

    def __init__(
        self,
        table: AnswerTable | None,
        files: Sequence[AnswerFile],
        drawing: Drawing | None,
        progress: Progress,
        *,
        topk: int,
        conditions: Mapping[str, Any],
    ) -> None:
        self._table, self._files, self._drawing, self._progress = table, files, drawing, progress
        self._topk, self._conditions = topk, conditions
        self.answered = self.failed = self.continued = self.fallbacks = self.undrawn = 0

    def give(self, taken: Taken, result: Prediction | SacvitError) -> None:
        """Write one answer everywhere. Raises SacvitError where one of the files can't take it."""
        record = self._record(taken, result)
        for file in self._files:  # first, as nobody may be reading the rows any more
            file.write(record)
        with self._progress.cleared():
            if self._table is None:
                click.echo(json.dumps(record))
            elif isinstance(result, Prediction):
                self._table.rows(result, self._topk)
        if not isinstance(result, Prediction):
            self.failed += 1
            if self._table is not None:
                self._complain(result)
            return
        self.answered += 1
        self.continued += result.stage == 2
        if result.fallback is not None:
            self.fallbacks += 1
            if self.fallbacks == 1 and self._table is not None:
                with self._progress.cleared():
                    say(f"Note: {printable(result.fallback)}; stage 1 answers in its place", err=True)
        if self._drawing is not None:
            self._draw(partial(self._drawing.take, taken, result))

    def close(self) -> None:
        """End the files; drawings that can't be ended are counted and told of."""
        if self._drawing is not None:
            self._draw(self._drawing.close)
        for file in self._files:
            file.close()

    def _draw(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SacvitError as error:
            self.undrawn += 1
            self._complain(error)

    def _complain(self, error: SacvitError) -> None:
        with self._progress.cleared():
            say(f"Error: {printable(str(error))}", err=True)

    def _record(self, taken: Taken, result: Prediction | SacvitError) -> dict[str, Any]:
        frame = taken.frame
        place: dict[str, Any] = {"position": taken.number}
        if frame.number is not None:
            place |= {"frame": frame.number, "time": frame.time}
        if isinstance(result, Prediction):
            return {**result.to_dict(self._topk), **place, **self._conditions}
        return {"source": frame.name, **place, "error": str(result)}
