"""What a process did to the network and to files, as strace saw it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

CALLS = "socket,open,openat,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")


def why_no_trace(folder: Path) -> str:
    """Return why processes can't be traced here; empty if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(["strace", "-o", folder / "trial", "true"], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace may not trace here ({done.stderr.strip()})"


def traced(
    command: Sequence[str | Path], folder: Path, env: Mapping[str, str], cwd: Path
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command; return how it ended, and its calls that opened a network socket or changed or made a file."""
    log = folder / "trace"
    strace = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", log, *command]
    done = subprocess.run(strace, env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    return done, [line for line in log.read_text().splitlines() if is_loud(line)]


def is_loud(line: str) -> bool:
    """Tell whether a line of strace's is a network socket, or a call that can leave something outside of /dev."""
    call = re.match(r"\d+\s+(\w+)\(", line)
    if call is None:
        return False
    if call[1] == "socket":
        return "AF_INET" in line
    if call[1] in ("open", "openat"):
        return bool(WRITING.search(line)) and '"/dev/' not in line
    return True
