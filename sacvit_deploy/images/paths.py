"""From files, folders and globs to the paths of images."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from sacvit_deploy.console.text import counted, listed
from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.class_folders import hidden_files, image_files
from sacvit_deploy.images.decode import SUFFIXES
from sacvit_deploy.regular import KINDS


def expand(arguments: Iterable[str], note: Callable[[str], None]) -> list[Path]:
    """Replace folders by the images in them and globs by their matches, sorted within each argument; files stay.

    `FOLDER/**` stands for the images in the folder and in all folders below it, `FOLDER/**/*.jpg` for what matches at
    any depth; links to folders are not followed. Hidden files (such as `._a.jpg`, which macOS leaves on cameras' cards)
    and what is no regular file are skipped, which `note` is told in one line for each argument. Raises UsageError for a
    folder without images or a glob without matches; a missing file is left to its reader.
    """
    paths: list[Path] = []
    for argument in arguments:
        hidden: set[Path] = set()  # in hidden folders; hidden by their own name are more
        looked = f"(looked for {', '.join(SUFFIXES)})"
        if os.path.isdir(argument):
            found = [path for path in Path(argument).iterdir() if path.suffix.lower() in SUFFIXES]
            nothing = f"no images in the folder {argument} {looked}"
        elif not is_glob(argument):
            paths.append(Path(argument))
            continue
        elif Path(argument).name == "**":
            folders = _folders(str(Path(argument).parent))
            hidden.update(path for folder in folders for path in hidden_files(folder))
            found = [*(path for folder in folders for path in image_files(folder)), *hidden]
            nothing = f"no images in the folders {argument} {looked}"
        else:
            found = _matches(argument)
            nothing = f"nothing matches {argument}"
        skipped = {path: "hidden" if path in hidden else why_skipped(path) for path in sorted(found)}
        reasons = {path: reason for path, reason in skipped.items() if reason}
        if reasons:
            names = [f"{path.name} ({reason})" for path, reason in reasons.items()]
            note(f"{argument}: {counted(len(names), 'file')} skipped: {listed(names)}")
        matches = sorted(path for path in found if path not in reasons)
        if not matches:
            raise UsageError(nothing)
        paths += matches
    return paths


def is_glob(argument: str) -> bool:
    """Whether an argument is a pattern; what exists under that very name is none."""
    return glob.has_magic(argument) and not os.path.lexists(argument)


def _folders(argument: str) -> list[Path]:
    if not is_glob(argument):
        return [Path(argument)]
    return [path for path in map(Path, glob.glob(argument)) if path.is_dir()]


def _matches(argument: str) -> list[Path]:
    """List the files that a pattern matches; `**` in it goes down, round no links and into no hidden folders."""
    parts = Path(argument).parts
    at = parts.index("**") if "**" in parts else None
    if at is None:
        return [path for path in map(Path, glob.glob(argument)) if not path.is_dir()]
    rest = str(Path(*parts[at:]))
    folders = _folders(str(Path(*parts[:at])) if at else os.curdir)
    found = [(folder, path) for folder in folders for path in folder.glob(rest) if not path.is_dir()]
    return [path for folder, path in found if not any(part[0] == "." for part in path.relative_to(folder).parts)]


def why_skipped(path: Path) -> str | None:
    """Say why a file found in a folder is taken for no image, or return None. A missing one is left to its reader."""
    if path.name.startswith("."):
        return "hidden"
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None
    return None if kind == stat.S_IFREG else KINDS.get(kind, "no regular file")
