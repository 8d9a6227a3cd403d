"""Writing a folder atomically: it appears complete or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST
from sacvit_deploy.errors import ExportError
from sacvit_deploy.files import flush, partial_name


@contextlib.contextmanager
def whole_folder(target: Path, *, replace: bool, mark: str = MANIFEST, option: str = "--out") -> Iterator[Path]:
    """Yield a temporary folder beside `target`; rename it to `target` when the block ends well, else remove it.

    A folder already there is replaced only with `replace` and if it holds the file `mark`; anything else is refused. A
    process killed outright leaves a hidden `.NAME.partial-PID`, which the next export removes.
    """
    check_target(target, replace=replace, mark=mark, option=option)
    partial = partial_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target)
        partial.mkdir()
        yield partial
        flush(partial)
        # Something may have come there during the long work.
        check_target(target, replace=replace, mark=mark, option=option)
        _swap(partial, target)
    except OSError as error:
        raise ExportError(
            f"can't write {target}: {error.strerror or error}; choose another place with {option}"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_target(target: Path, *, replace: bool, mark: str = MANIFEST, option: str = "--out") -> None:
    """Raise ExportError if `target` may not be written, as `whole_folder` says; call it before long work."""
    if not target.exists():
        return
    if not (target.is_dir() and (target / mark).exists()):
        raise ExportError(f"{target} exists and is not a bundle (no {mark} in it); choose another place with {option}")
    if not replace:
        raise ExportError(f"{target} exists; say --force to replace it, or choose another place with {option}")


def _swap(partial: Path, target: Path) -> None:
    old = partial.with_name(f"{partial.name}-old")
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(partial, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(target: Path) -> None:
    """Remove the partial folders that killed exports to `target` left, but none of a running process."""
    for path in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        process = path.name.rsplit("partial-", 1)[1].split("-")[0]
        # In a container this process often has the killed one's number.
        if process.isdigit() and (int(process) == os.getpid() or not _alive(int(process))):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
