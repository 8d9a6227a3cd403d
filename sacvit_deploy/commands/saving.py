"""The files of `sacvit infer --save`: where each image's or video's goes, and how it gets there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from PIL import Image

from sacvit_deploy.commands.feed import Taken
from sacvit_deploy.errors import ImageError, SacvitError, UsageError, first_line
from sacvit_deploy.sources.av_library import load_av
from sacvit_deploy.sources.frames import Kind, Source
from sacvit_deploy.sources.video_writer import SUFFIXES as VIDEO_SUFFIXES
from sacvit_deploy.sources.video_writer import VideoWriter

SUFFIXES = (".png", ".jpg", ".jpeg")


class Saving:
    """Writes drawn answers into files: images as images, frames as videos, one video at a time.

    target: see `saved_files`. place: what to tell the user. Raises UsageError where a file can't be, or a source would
    be overwritten, and BackendError for videos without PyAV.
    """

    def __init__(self, target: Path, sources: Sequence[Source]) -> None:
        self._files = saved_files(target, sources)
        self.place = target if len(sources) > 1 else self._files[0]
        self._is_folder = self._files != [target]
        self._video: VideoWriter | None = None
        self._current = -1  # the number of the source whose video that is
        if videos_among(self._files):
            load_av()

    def write(self, taken: Taken, image: Image.Image) -> None:
        """Write one answer. Raises SacvitError, for a video once."""
        target = self._files[taken.source]
        if target.suffix.lower() in VIDEO_SUFFIXES:
            self._append(taken, target, image)
            return
        if taken.frame.number:
            if not self._is_folder:
                raise ImageError(f"{target} holds one image; --save FOLDER or a .mp4 file takes the others")
            target = target.with_name(f"{target.stem}-{taken.frame.number}{target.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)
        except OSError as error:
            raise ImageError(f"can't write {target}: {error.strerror or first_line(error)}") from error

    def _append(self, taken: Taken, target: Path, image: Image.Image) -> None:
        if taken.source != self._current:
            before, self._video, self._current = self._video, VideoWriter(target), taken.source
            if before is not None:
                before.close()
        if self._video is not None:
            try:
                self._video.write(image, taken.frame.time or 0.0)
            except SacvitError:
                self._video = None
                raise

    def close(self) -> None:
        """End the last video. Raises SacvitError."""
        if self._video is not None:
            self._video.close()


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


def videos_among(files: Iterable[Path]) -> list[Path]:
    """Return the files that are videos by their names."""
    return [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]


def saved_name(source: str) -> str:
    """Return a file's name without suffix for a source: of an address its last part, of standard input `stdin`."""
    if source == "-":
        return "stdin"
    if "://" not in source:
        return Path(source).stem
    try:
        parts = urlsplit(source)
    except ValueError:  # a list's line that is refused
        return "address"
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
