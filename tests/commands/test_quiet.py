"""Commands leave nothing behind, ask nobody, and need no home folder, no writable disk and no account."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.traces import traced, why_no_trace

REPOSITORY = Path(__file__).parents[2]
BUNDLE = REPOSITORY / "tests/data/before"
IMAGE = REPOSITORY / "examples/pictures/01_panda_medium.jpg"
PLAIN = {"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
Run = Callable[..., subprocess.CompletedProcess[str]]

INFER = ("infer", IMAGE, "--bundle", BUNDLE, "--precision", "fp32")
COMMANDS = {
    "infer": INFER,
    "infer on openvino": (*INFER, "--backend", "openvino"),
    "doctor": ("doctor",),
    "verify": ("verify", BUNDLE),
    "inspect": ("inspect", BUNDLE),
}
each_command = pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)


def program(arguments: tuple[str | Path, ...]) -> list[str]:
    return [sys.executable, "-m", "sacvit_deploy", *map(str, arguments)]


def assert_silent(done: subprocess.CompletedProcess[str], arguments: tuple[str | Path, ...]) -> None:
    """It did its job, and said no more than what it runs on."""
    said = [line for line in done.stderr.splitlines() if not line.startswith(f"{BUNDLE}: ")]
    assert (done.returncode, said) == (0, []), done
    expected = {"infer": "1 image", "doctor": "CPUExecutionProvider", "verify": "fp32: ok", "inspect": "224"}
    assert expected[str(arguments[0])] in done.stdout
    if arguments[0] == "doctor":
        assert importlib.metadata.version("openvino") in done.stdout  # loaded, not an error


# --- leaving nothing behind


@each_command
def test_no_socket_and_no_file(arguments: tuple[str | Path, ...], tmp_path: Path) -> None:
    if why := why_no_trace(tmp_path):
        pytest.skip(why)
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    done, loud = traced(program(arguments), tmp_path, {**PLAIN, "HOME": str(home)}, cwd)
    assert_silent(done, arguments)
    assert loud == []
    assert [*home.iterdir(), *cwd.iterdir()] == []


def test_the_trace_sees_sockets_and_files(tmp_path: Path) -> None:
    if why := why_no_trace(tmp_path):
        pytest.skip(why)
    code = "import socket, threading as t; t.Thread(target=lambda: (socket.socket(), open('x', 'w'))).start()"
    _, loud = traced([sys.executable, "-c", code], tmp_path, PLAIN, tmp_path)
    assert len(loud) == 2 and "AF_INET" in loud[0] and '"x"' in loud[1]


# --- needing nothing


@each_command
def test_no_home_and_no_temporary_folder(arguments: tuple[str | Path, ...], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o500)
    environment = {**PLAIN, "HOME": "/nonexistent", "TMPDIR": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}
    done = subprocess.run(
        program(arguments), env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert_silent(done, arguments)


# A mount namespace of its own: /dev has four devices and no shm, every file system is read-only. Then the program runs
# as a user without an account, who may read what root may (an environment below a folder of mode 700, too) and write
# nothing. It ends with 90 where the system does not let us do that.
BARE = r"""
{
    mount --make-rprivate / && mount --bind /dev "$1" && mount -t tmpfs tmpfs /dev || exit 90
    for name in null zero random urandom; do
        touch /dev/$name && mount --bind "$1/$name" /dev/$name || exit 90
    done
    umount "$1" || exit 90
    while read -r _ _ _ _ point _; do mount -o remount,ro,bind "$point"; done < /proc/self/mountinfo
    touch "$1/trial" /dev/trial && exit 90
} 2> /dev/null
shift
exec setpriv --reuid 12345 --regid 12345 --clear-groups \
    --inh-caps +dac_read_search --ambient-caps +dac_read_search "$@"
"""


@pytest.fixture
def bare(tmp_path: Path) -> Run:
    """Run a program with nothing to write to, no /dev/shm, no HOME, and as a user that has no account."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root can set up a read-only file system and another user")
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        pytest.skip("unshare and setpriv are not installed")
    mount = tmp_path / "dev"
    mount.mkdir()

    def run(command: list[str], env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        call = ["unshare", "-m", "sh", "-c", BARE, "sh", str(mount), *command]
        return subprocess.run(call, env=env, cwd="/", capture_output=True, text=True, timeout=300, check=False)

    trial = run([sys.executable, "-c", f"import numpy; open({str(BUNDLE / 'manifest.json')!r})"], PLAIN)
    if trial.returncode:
        pytest.skip(f"no such surroundings here ({trial.returncode} {trial.stderr[-200:]})")
    return run


@each_command
def test_read_only_and_without_an_account(arguments: tuple[str | Path, ...], bare: Run) -> None:
    assert_silent(bare(program(arguments), PLAIN), arguments)


def test_the_bare_surroundings_are_bare(bare: Run) -> None:
    code = """
import os, pwd, tempfile
assert os.getuid() == 12345 and not os.path.exists("/dev/shm") and "HOME" not in os.environ
for attempt in (lambda: pwd.getpwuid(12345), tempfile.mkdtemp, lambda: os.mkdir("x")):
    try:
        attempt()
    except (KeyError, OSError):
        continue
    raise AssertionError(attempt)
"""
    done = bare([sys.executable, "-c", code], PLAIN)
    assert (done.returncode, done.stderr) == (0, "")
