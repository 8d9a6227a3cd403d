"""Lists of sources: a text file with one on each line."""

from __future__ import annotations

import glob
import os
import sys
from pathlib import Path

from sacvit_deploy.errors import UsageError
from sacvit_deploy.regular import read_regular
from sacvit_deploy.sources.addresses import ADDRESS, masked

LIST_SUFFIX = ".txt"
LIMIT = 256 << 20  # bytes of a list


def read_list(name: str) -> list[tuple[str, str]]:
    """Return a list's lines, each as it stands there and as a source: paths are relative to the list's folder.

    name: a file, or `-` for standard input, whose paths are relative to the current folder. Empty lines and those that
    begin with # are comments, blanks around a line are left out, and nothing in it is an option. Raises UsageError.
    """
    shown = masked(name)
    try:
        data = sys.stdin.buffer.read(LIMIT + 1) if name == "-" else read_regular(name, LIMIT)
    except FileNotFoundError as error:
        raise UsageError(f"{shown} does not exist; it would be a list of sources, one on each line") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"can't read the list {shown}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > LIMIT or b"\0" in data:
        raise UsageError(f"{shown} is no list of sources, a text with one on each line")
    lines = [os.fsdecode(line).strip() for line in data.removeprefix(b"\xef\xbb\xbf").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise UsageError(f"{name} lists no sources; write one on each line")
    folder = Path() if name == "-" else Path(name).parent
    return [(line, _placed(line, folder)) for line in lines]


def _placed(line: str, folder: Path) -> str:
    """Return a line as a source. A number is a camera's, unless the folder has a file of that name."""
    path = os.path.join(folder, line)
    if os.path.lexists(path):
        return path
    if ADDRESS.match(line) or line.isdecimal():
        return line
    return os.path.join(glob.escape(str(folder)), line)  # which may be a pattern; the folder's name is none
