"""A run of `sacvit infer`: all sources through one stream of the model, and what is said at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

from sacvit_deploy.bundle.identity import answers_digest
from sacvit_deploy.commands.answer_files import AnswerFile, Format
from sacvit_deploy.commands.answer_table import AnswerTable, terminal_columns
from sacvit_deploy.commands.drawing import Drawing
from sacvit_deploy.commands.feed import Feed
from sacvit_deploy.commands.latency import Latency
from sacvit_deploy.commands.outputs import Outputs
from sacvit_deploy.commands.saving import Saving, saved_files, videos_among
from sacvit_deploy.commands.window import Window
from sacvit_deploy.console.progress import Progress
from sacvit_deploy.console.terminal import say
from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import UsageError
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.ray.files import FileStream
from sacvit_deploy.sources.frames import ImageFile, Kind, Note, Refused, Source
from sacvit_deploy.stream import Stream

BATCH = 32
# Seconds that an image waits for others: of live sources and pipes, and of files, whose rows must not stay away for
# long while batches fill up.
DELAY, FILES_DELAY = 0.1, 1.0


@dataclass(frozen=True)
class Asked:
    """The options of a run, as they were given; None stands for the default."""

    topk: int
    batch: int | None
    max_delay: float | None
    keep: Literal["all", "latest"] | None
    as_json: bool
    csv: Path | None
    jsonl: Path | None
    resume: bool
    save: Path | None
    show: bool
    ray: str | None

    def check(self, sources: Sequence[Source]) -> None:
        """Raise UsageError for options that do not go with the sources."""
        timed = [source for source in sources if source.kind in (Kind.LIVE, Kind.PIPE)]
        if self.resume and not (self.csv or self.jsonl):
            raise UsageError("--resume goes on with the files of --csv and --jsonl; name one of them")
        if self.resume and timed:
            raise UsageError(f"--resume can't know which images of {timed[0].name} were answered; name another file")
        if self.keep == "latest" and len(timed) < len(sources):
            raise UsageError("--keep latest is for cameras, streams and pipes; of files, all images are answered")
        if self.resume and self.save and (videos := videos_among(saved_files(self.save, sources))):
            raise UsageError(
                f"--resume would leave the frames answered before out of {videos[0]}; go on without --save, or draw "
                "all of it without --resume, beside other files of answers"
            )
        if self.ray is not None:
            if self.keep or self.max_delay is not None:
                raise UsageError("--ray answers files, all of them; leave out --keep and --max-delay")
            if other := [source for source in sources if not isinstance(source, (ImageFile, Refused))]:
                raise UsageError(f"--ray answers image files; {other[0].name} is none")


def answer(
    model: SACViT,
    sources: Sequence[Source],
    asked: Asked,
    *,
    eta: float,
    alpha: float,
    title: str,
    seconds: float,
    progress: Progress,
    note: Note,
    begin: Callable[..., Stream | FileStream],
) -> int:
    """Answer for all images of all sources, and return the command's exit code.

    title: what the table is headed with. seconds: what opening the model took. begin: `model.stream`, or what takes and
    gives the same. Raises SacvitError.
    """
    kinds = {source.kind for source in sources}
    known, live, timed = kinds == {Kind.IMAGE}, Kind.LIVE in kinds, bool(kinds & {Kind.LIVE, Kind.PIPE})
    conditions = {"eta": eta, "alpha": alpha, "precision": model.precision}
    conditions["bundle"] = answers_digest(model.bundle, model.precision)
    saving = Saving(asked.save, sources) if asked.save else None
    window = Window() if asked.show else None
    drawing = Drawing(model.prepare, eta, alpha, saving, window) if saving or window else None
    wanted: list[tuple[Path | None, Format]] = [(asked.csv, "csv"), (asked.jsonl, "jsonl")]
    files = [
        AnswerFile(path, form, resume=asked.resume, conditions=conditions, note=note) for path, form in wanted if path
    ]
    table = None if asked.as_json else AnswerTable(terminal_columns(sys.stdout))
    outputs = Outputs(table, files, drawing, progress, topk=asked.topk, conditions=conditions)
    feed = Feed(
        sources,
        note,
        is_done=lambda name: bool(files) and all(file.has(name) for file in files),
        prepare=model.prepare if drawing else None,
    )
    if table is not None:
        say(title, err=not sys.stdout.isatty())
        table.head()
    keep = asked.keep or ("latest" if live else "all")
    batch = asked.batch or (1 if keep == "latest" else BATCH)
    results = begin(
        feed,
        batch_size=min(batch, len(sources)) if known else batch,
        eta=eta,
        alpha=alpha,
        max_delay=(DELAY if timed else FILES_DELAY) if asked.max_delay is None else asked.max_delay,
        keep=keep,
    )
    latency = Latency()

    def tell() -> None:
        if latency.answered and feed.count > 1:
            say(latency.line(feed.count, results.dropped), err=asked.as_json)

    start = perf_counter()
    with ExitStack() as ends:
        ends.callback(outputs.close)
        if keep == "latest" or (timed and len(sources) == 1):
            ends.callback(tell)
        ends.enter_context(results)
        with progress.count("images", len(sources) if known else None) as advance:
            for result in results:
                taken = feed.answered(result.position)
                outputs.give(taken, result)
                latency.add(perf_counter() - taken.frame.arrived, failed=not isinstance(result, Prediction))
                advance(1)
                if window is not None and window.is_closed:
                    break
    if table is not None:
        say(summary(outputs, results.dropped, feed.done, seconds, perf_counter() - start))
    if saving is not None and not asked.as_json:
        say(f"saved: {saving.place}")
    return 1 if outputs.failed or outputs.undrawn else 0


def summary(outputs: Outputs, dropped: int, done: int, opening: float, running: float) -> str:
    """Say the counts of images, exits, failures and drawings that are missing, and the speed."""
    answered = outputs.answered
    parts = [counted(answered + outputs.failed + dropped, "image")]
    if done:
        parts.append(f"{done:,} answered before")
    if outputs.failed:
        parts.append(f"{outputs.failed:,} failed")
    if outputs.undrawn:
        parts.append(f"{outputs.undrawn:,} not saved")
    if answered:
        exits, share = answered - outputs.continued - outputs.fallbacks, outputs.continued / answered
        parts.append(f"{exits:,} exited at stage 1, {outputs.continued:,} continued ({share:.0%})")
        if outputs.fallbacks:
            parts.append(f"{outputs.fallbacks:,} by stage 1 in stage 2's place")
    parts.append(f"opened in {opening:.2f} s, {answered / running:.1f} images/s")
    return "; ".join(parts)
