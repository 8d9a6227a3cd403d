"""From what a user types to sources: which of the kinds an argument, or a line of a list, stands for."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from sacvit_deploy.console.text import counted
from sacvit_deploy.errors import ImageError, SacvitError, UsageError
from sacvit_deploy.images.decode import SUFFIXES
from sacvit_deploy.images.paths import expand, is_glob
from sacvit_deploy.images.reading import is_pipe
from sacvit_deploy.regular import open_regular
from sacvit_deploy.sources.addresses import ADDRESS, masked, shown_url
from sacvit_deploy.sources.content import HEAD, is_image_head, is_video_head, is_video_name
from sacvit_deploy.sources.frames import ImageFile, Kind, Note, Refused, Source
from sacvit_deploy.sources.lists import LIST_SUFFIX, read_list
from sacvit_deploy.sources.live import RTSP_SCHEMES, Camera, Stream
from sacvit_deploy.sources.pipes import STDIN, Pipe
from sacvit_deploy.sources.reconnect import ATTEMPTS
from sacvit_deploy.sources.video import Recording
from sacvit_deploy.sources.web import SCHEMES as WEB_SCHEMES
from sacvit_deploy.sources.web import WebImage

WITH_FRAMES = (Recording, Camera, Stream, Pipe)
STREAM_SUFFIXES = (".m3u8", ".mjpg", ".mjpeg")  # of addresses
_CAMERA = re.compile(r"/dev/video\d+")
_MANY = "is live and never ends by itself, so it must be the only source; start a process for each"


def to_sources(arguments: Iterable[str], note: Note, attempts: int = ATTEMPTS, every: int = 1) -> list[Source]:
    """Return the sources that arguments stand for, in their order, with folders, globs and lists taken apart.

    attempts: how often a live source is connected again. every: which frames are given, 1 for all. Raises UsageError,
    as `expand` and for lists that can't be read, unknown kinds of addresses, a live source that is not alone, and where
    there are no frames to choose from. What is wrong in a list costs its line alone.
    """
    found: list[Source | _Unknown] = []
    for argument in arguments:
        if (listed := _list_name(argument)) is None:
            found += _sources(argument, note, attempts)
            continue
        for line, path in read_list(listed):
            try:
                if line == STDIN or _list_name(path) is not None:
                    raise ImageError(f"{listed} names {line}; a list can't name standard input or another list")
                found += _sources(path, note, attempts)
            except SacvitError as error:
                found.append(Refused(masked(line), error))
    # What only an address's answer tells is taken for a stream where it is alone, as a stream must be.
    sources = [_settled(source, attempts, len(found) == 1) for source in found]
    live = [source for source in sources if source.kind is Kind.LIVE]
    if live and len(sources) > 1:
        raise UsageError(f"{live[0].name} {_MANY} ({counted(len(sources), 'source')} here)")
    if every > 1 and all(source.kind is Kind.IMAGE for source in sources):
        raise UsageError(f"--every {every} is for videos, pipes and live sources; here are images alone")
    return [replace(each, every=every) if isinstance(each, WITH_FRAMES) else each for each in sources]


class _Unknown(str):
    """An address of http that may be an image's or a stream's."""


def _settled(source: Source | _Unknown, attempts: int, alone: bool) -> Source:
    if not isinstance(source, _Unknown):
        return source
    return Stream(str(source), attempts) if alone else WebImage(str(source))


def _list_name(argument: str) -> str | None:
    """Return the name of the list that an argument stands for, if it is one."""
    if argument.startswith("@") and not os.path.lexists(argument):
        return argument[1:]
    named = PurePosixPath(argument).suffix.lower() == LIST_SUFFIX and not is_glob(argument)
    return argument if named and not ADDRESS.match(argument) and not os.path.isdir(argument) else None


def _sources(argument: str, note: Note, attempts: int) -> list[Source | _Unknown]:
    if argument == STDIN:
        return [Pipe(STDIN)]
    if (address := ADDRESS.match(argument)) and not os.path.lexists(argument):
        return [_address(argument, address[1].lower(), address[2], attempts)]
    if (argument.isdecimal() and argument.isascii() and not os.path.lexists(argument)) or _CAMERA.fullmatch(argument):
        return [Camera(argument, attempts)]
    if os.path.isdir(argument) or is_glob(argument):
        return [file_source(path) for path in expand([argument], note)]
    return [Pipe(argument) if is_pipe(argument) else file_source(Path(argument))]


def _address(url: str, scheme: str, slashes: str, attempts: int) -> Source | _Unknown:
    """Return the source at an address. Raises UsageError."""
    url = scheme + url[len(scheme) :]  # FFmpeg knows its protocols in small letters alone
    shown = masked(url)
    if scheme not in (*WEB_SCHEMES, *RTSP_SCHEMES):
        hint = "give the file's path" if scheme == "file" else "there are http, https, rtsp and rtsps"
        raise UsageError(f"{shown}: addresses of {scheme} are not read; {hint}")
    if slashes != "//":
        raise UsageError(f"{shown}: an address has two slashes after {scheme}:")
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise UsageError(f"{shown} is no address of the form {scheme}://HOST/PATH")
    if scheme in RTSP_SCHEMES:
        return Stream(url, attempts)
    suffix = PurePosixPath(parts.path).suffix.lower()
    if suffix in SUFFIXES:
        return WebImage(url)
    if suffix in STREAM_SUFFIXES:
        return Stream(url, attempts)
    return Recording(shown_url(url), url) if is_video_name(parts.path) else _Unknown(url)


def file_source(path: Path) -> Source:
    """Return the source for a path: images by their suffix, everything else by its first bytes, then by its suffix."""
    if path.suffix.lower() in SUFFIXES:
        return ImageFile(path)
    head = _head(path)
    if head is not None and (is_video_head(head) or (is_video_name(path.name) and not is_image_head(head))):
        return Recording(str(path), str(path))
    return ImageFile(path)


def _head(path: Path) -> bytes | None:
    """Return the first bytes of a regular file; None for what is none, which is left to its reader."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with open_regular(path) as file:
            return file.read(HEAD)
    except (OSError, ValueError):
        return None
