"""What TensorRT-RTX compiled, kept in the user's cache folder: the next process need not compile it again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sacvit_deploy.files import whole_file
from sacvit_deploy.regular import read_regular

VARIABLE, OFF = "SACVIT_CACHE", "off"  # names the folder, or switches it off
SUFFIX = ".kernels"
LIMIT = 1 << 30  # bytes of a file that are read
MOST = 16  # files that are kept, those used last
DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class KernelFile:
    """File of a library's own bytes behind a SHA-256 of them and of the key, so that damage never reaches the library.

    path: named by the key, all that the content depends on.
    """

    path: Path

    def read(self) -> bytes | None:
        """Return the library's bytes; None where there is no file of this user's, or a damaged or a foreign one."""
        try:
            if not _own(self.path.parent):
                return None
            content = read_regular(self.path, LIMIT)
        except OSError:
            return None
        digest, blob = content[:DIGEST], content[DIGEST:]
        if digest != self._digest(blob):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # used now
        return blob

    def write(self, blob: bytes) -> None:
        """Replace the file, and remove the ones that were not used for longest. Raises OSError."""
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _own(folder):
            raise PermissionError(f"{folder} belongs to another user, or others may write into it")
        with whole_file(self.path) as partial:
            partial.write_bytes(self._digest(blob) + blob)
        files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[MOST:]:
            path.unlink(missing_ok=True)

    def _digest(self, blob: bytes) -> bytes:
        return hashlib.sha256(self.path.name.encode() + blob).digest()


def kernel_file(facts: Iterable[str], plans: Iterable[memoryview]) -> KernelFile | None:
    """Return the file for a library and GPU, described by `facts`, and plans; None where nothing is to be kept."""
    folder = cache_folder()
    if folder is None:
        return None
    digests = sorted(hashlib.sha256(plan).hexdigest() for plan in plans)
    key = hashlib.sha256(json.dumps([list(facts), digests]).encode()).hexdigest()
    return KernelFile(folder / f"{key[:32]}{SUFFIX}")


def cache_folder() -> Path | None:
    """Return $SACVIT_CACHE, or `sacvit-deploy` in the user's cache folder; None without one, or where it is `off`."""
    given = os.environ.get(VARIABLE)
    if given:
        return None if given == OFF else Path(given)
    system = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    if Path(system).is_absolute():  # of others, the specification says to take no notice
        return Path(system) / "sacvit-deploy"
    with contextlib.suppress(RuntimeError):  # nobody's home
        return Path.home() / ".cache" / "sacvit-deploy"
    return None


def _own(folder: Path) -> bool:
    """Tell whether a folder is this user's, and nobody else's to write into: kernels are code. Raises OSError."""
    facts = folder.stat()
    return os.name == "nt" or (facts.st_uid == os.geteuid() and not facts.st_mode & 0o022)
