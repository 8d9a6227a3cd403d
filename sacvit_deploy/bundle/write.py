"""Writing a folder, or in one, so that whoever reads it finds the old content or the new and nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sacvit_deploy.bundle.bundle import MANIFEST
from sacvit_deploy.errors import ExportError
from sacvit_deploy.exchange import exchange
from sacvit_deploy.files import OLD, flush, flush_folder, is_text, keep_access, remove_leftovers, workplace
from sacvit_deploy.locks import MOVABLE, Lock, locked


@contextlib.contextmanager
def whole_folder(
    target: Path,
    *,
    replace: bool,
    mark: str = MANIFEST,
    option: str = "--out",
    alone: bool = False,
    kind: str = "bundle",
) -> Iterator[Path]:
    """Yield a hidden folder beside `target`; move it to `target` when the block ends well, else remove it.

    A folder already there is replaced only with `replace` and if it holds the file `mark`; anything else is refused. It
    is exchanged with the new one in one step where the system can do that, and its mode, group and owner stay. Where
    `target` is a link, so does the link. alone: hold the lock of the folder already there throughout, because its
    content goes into the new one. kind: what such a folder is called. Raises ExportError.
    """
    place = Path(os.path.realpath(target))
    try:
        recover(place)
        check_target(target, replace=replace, mark=mark, option=option, kind=kind)
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            lock = stack.enter_context(locked(place)) if alone else None
            work = stack.enter_context(workplace(place))
            new = work / place.name
            new.mkdir()
            yield new
            flush(new)
            while not _put(new, place, lock, replace=replace, mark=mark, option=option, kind=kind):
                pass  # something came there, or went, at this very moment
            flush_folder(place.parent)
    except OSError as error:
        raise ExportError(
            f"can't write {target}: {error.strerror or error}; choose another place with {option}"
        ) from error


def recover(bundle: Path) -> None:
    """Put a bundle back that a process killed between two renames moved away; call it before opening one to change."""
    place = Path(os.path.realpath(bundle))
    remove_leftovers(place.parent, place.name)


@contextlib.contextmanager
def changing(bundle: Path) -> Iterator[Path]:
    """Hold a bundle's lock while the block changes files in it; yield the folder that a link leads to.

    Read the manifest again in the block: another process may have changed or replaced the bundle until then. Write new
    files under new names, then the manifest by `whole_file`, and remove what it no longer names last. Raises OSError.
    """
    place = Path(os.path.realpath(bundle))
    with locked(place):
        remove_leftovers(place)
        yield place


def check_target(
    target: Path, *, replace: bool, mark: str = MANIFEST, option: str = "--out", kind: str = "bundle"
) -> None:
    """Raise ExportError if `target` may not be written, as `whole_folder` says; call it before long work."""
    if not is_text(target):
        raise ExportError(f"{target} holds bytes that are no text, which onnx can't open; choose another with {option}")
    resolved = Path(os.path.realpath(target))
    # What can't be looked into counts as there, and is then refused.
    place = next(parent for parent in resolved.parents if not _missing(parent))
    if not _writable(place):
        raise ExportError(f"can't write {target}: {place} is not writable; choose another place with {option}")
    if not target.exists():
        return
    if not (target.is_dir() and (target / mark).exists()):
        raise ExportError(f"{target} exists and is not a {kind} (no {mark} in it); choose another place with {option}")
    if not replace:
        raise ExportError(f"{target} exists; say --force to replace it, or choose another place with {option}")
    if os.path.ismount(resolved):
        raise ExportError(f"can't replace {target}: it is a mount point; mount the folder that it is in instead")
    if not _writable(resolved):
        raise ExportError(f"can't replace {target}: the folder is read-only; choose another place with {option}")


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _missing(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False


def _put(new: Path, place: Path, lock: Lock | None, *, replace: bool, mark: str, option: str, kind: str) -> bool:
    """Move `new` to `place`, and what was there into the hidden folder; False to be called again. Raises ExportError.

    lock: of the folder at `place`, if it is held already.
    """
    if not place.exists():
        try:
            os.rename(new, place)
        except OSError:
            if not place.exists():
                raise
            return False
        return True
    with contextlib.ExitStack() as stack:
        if lock is None:
            try:
                lock = stack.enter_context(locked(place))
            except (FileNotFoundError, NotADirectoryError):
                check_target(place, replace=replace, mark=mark, option=option, kind=kind)
                return False
        # Something else may have come there during the work.
        check_target(place, replace=replace, mark=mark, option=option, kind=kind)
        _keep_all_access(place, new, mark)
        flush(new)
        if not MOVABLE:
            lock.release()
        done = exchange(new, place) or _rename_both(new, place)
        flush_folder(new.parent)
    return done


def _rename_both(new: Path, place: Path) -> bool:
    """Replace a folder in two steps; False if another writer took the name in between.

    A process killed in between leaves the old folder where the next one restores it.
    """
    old = new.with_name(OLD)
    os.rename(place, old)
    try:
        os.rename(new, place)
    except BaseException:
        if place.exists():
            shutil.rmtree(old)
            return False
        os.rename(old, place)
        raise
    return True


def _keep_all_access(former: Path, new: Path, mark: str) -> None:
    """Give files and folders the mode, group and owner they had; new ones those of the `mark` or the whole folder."""
    for path in (new, *new.rglob("*")):
        if path.is_symlink():
            continue
        known = former / path.relative_to(new)
        if known.is_dir() != path.is_dir() or not known.exists():
            known = former if path.is_dir() else former / mark
        keep_access(known.stat(), path)
