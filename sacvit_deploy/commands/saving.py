"""The files of `sacvit infer --save`: where each image's or video's goes, and how it gets there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.commands.feed import Taken
from sacvit_deploy.errors import ImageError, SacvitError, UsageError, first_line
from sacvit_deploy.images.overlay import draw_overlay
from sacvit_deploy.images.sources import AnySource
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.scheduler import Item
from sacvit_deploy.sources.frames import Kind, Source
from sacvit_deploy.sources.video_writer import SUFFIXES as VIDEO_SUFFIXES
from sacvit_deploy.sources.video_writer import VideoWriter

SUFFIXES = (".png", ".jpg", ".jpeg")


class Saving:
    """Draws answers into files, images as images and frames as videos.

    target: see `saved_files`. prepare: fits an image that can be read again to the model's view. draw: draws an answer
    into a view [S,S,3]. place: what to tell the user. Raises UsageError where a file can't be, or a source would be
    overwritten.
    """

    def __init__(
        self,
        target: Path,
        sources: Sequence[Source],
        prepare: Callable[[AnySource], Item],
        draw: Callable[[Pixels, Prediction], Image.Image],
    ) -> None:
        self._files = saved_files(target, sources)
        self.place = target if len(sources) > 1 else self._files[0]
        self._is_folder = self._files != [target]
        self._prepare, self._draw = prepare, draw
        self._videos: dict[int, VideoWriter | None] = {}  # by the source's number; None: it can't be written
        for number, file in enumerate(self._files):
            if file.suffix.lower() in VIDEO_SUFFIXES:
                self._videos[number] = VideoWriter(file)

    def write(self, taken: Taken, prediction: Prediction) -> None:
        """Draw one answer. Raises SacvitError, for a video once."""
        target = self._files[taken.source]
        view = taken.view
        if view is None:
            item = self._prepare(taken.frame.image)
            if item.pixels is None:  # it was there a moment ago
                raise item.error or ImageError(f"can't draw {target}: {item.source} can't be read again")
            view = item.pixels
        if taken.source in self._videos:
            self._append(taken, view, prediction)
            return
        if taken.frame.number:
            if not self._is_folder:
                raise ImageError(f"{target} holds one image; --save FOLDER or a .mp4 file takes the others")
            target = target.with_name(f"{target.stem}-{taken.frame.number}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._draw(view, prediction).save(target)
        except OSError as error:
            raise ImageError(f"can't write {target}: {error.strerror or first_line(error)}") from error
        except Exception as error:
            raise ImageError(f"can't draw {target} ({type(error).__name__}: {first_line(error)})") from error

    def _append(self, taken: Taken, view: Pixels, prediction: Prediction) -> None:
        if (video := self._videos[taken.source]) is None:
            return
        try:
            video.write(self._draw(view, prediction), taken.frame.time or 0.0)
        except SacvitError:
            self._videos[taken.source] = None
            raise

    def close(self) -> list[SacvitError]:
        """End the videos; return what kept any from being written."""
        errors = []
        for video in self._videos.values():
            try:
                if video is not None:
                    video.close()
            except SacvitError as error:
                errors.append(error)
        return errors


def drawing(eta: float, alpha: float) -> Callable[[Pixels, Prediction], Image.Image]:
    """Return what draws answers that were asked for with eta and alpha."""
    return lambda pixels, prediction: draw_overlay(pixels, prediction, eta, alpha)


def saved_files(target: Path, sources: Sequence[Source]) -> list[Path]:
    """Return each source's file: `target` itself for one source, else NAME.png or NAME.mp4 in the folder `target`.

    Names that occur several times are numbered: a.png, a-2.png. Raises UsageError where `target` can be neither, or a
    source would be overwritten.
    """
    suffix = target.suffix.lower()
    if len(sources) == 1 and suffix in (*SUFFIXES, *VIDEO_SUFFIXES) and not target.is_dir():
        (source,) = sources
        if suffix in VIDEO_SUFFIXES and source.kind is Kind.IMAGE:
            raise UsageError(f"--save {target} would be a video, {source.name} is an image; name a .png or .jpg file")
        if suffix in SUFFIXES and source.kind in (Kind.VIDEO, Kind.LIVE):
            raise UsageError(f"--save {target} would be an image of a whole video; name a .mp4 file, or a folder")
        files = [target]
    elif target.is_dir() or not (target.suffix or target.exists()):
        names = unique_names([saved_name(source.name) for source in sources])
        still = (Kind.IMAGE, Kind.PIPE)
        ends = [".png" if source.kind in still else ".mp4" for source in sources]
        files = [target / f"{name}{end}" for name, end in zip(names, ends, strict=True)]
    elif len(sources) > 1:
        raise UsageError(f"--save {target} is a file; for several sources name a folder")
    else:
        raise UsageError(f"--save {target}: name a .png, .jpg or .mp4 file, or a folder")
    originals = {os.path.realpath(source.name) for source in sources}
    for file in files:
        if os.path.realpath(file) in originals:
            raise UsageError(f"--save would overwrite {file}; name another place")
    return files


def saved_name(source: str) -> str:
    """Return a file's name without suffix for a source: of an address its last part, of standard input `stdin`."""
    if source == "-":
        return "stdin"
    if "://" not in source:
        return Path(source).stem
    parts = urlsplit(source)
    return re.sub(r"[^\w.+-]", "_", PurePosixPath(unquote(parts.path)).stem or parts.hostname or "stream")


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names, of which those that occurred before, in capitals or not, are numbered from 2."""
    count: Counter[str] = Counter()
    taken: set[str] = set()
    unique = []
    for name in names:
        key = name.lower()
        count[key] += 1
        chosen = name if count[key] == 1 else f"{name}-{count[key]}"
        while chosen.lower() in taken:
            count[key] += 1
            chosen = f"{name}-{count[key]}"
        taken.add(chosen.lower())
        unique.append(chosen)
    return unique
