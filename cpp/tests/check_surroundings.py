"""Run `sacvit_infer` in the surroundings it may find: argv is BUNDLE IMAGE SACVIT_INFER.

A full disk behind its output, no home folder, no writable folder, another user, names and labels with control
characters. And it leaves no traces: no network, no files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

CALLS = "socket,open,openat,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
LOUD = re.compile(r'AF_INET|O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|(?:creat|mkdir\w*|mknod\w*|\w*link\w*|rename\w*)\("')
PLAIN = {"PATH": os.defpath, "SACVIT_ORT_LIBRARY": os.environ["SACVIT_ORT_LIBRARY"]}
Done = subprocess.CompletedProcess[str]


class Surroundings:
    """The program, its bundle and image, and a folder for one test."""

    def __init__(self, bundle: Path, image: Path, infer: list[str], folder: Path) -> None:
        self.bundle, self.image, self.infer, self.folder = bundle, image, infer, folder

    def command(self, *more: str) -> list[str]:
        return [*self.infer, str(self.image), "--bundle", str(self.bundle), *more]

    def run(self, command: list[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
        return subprocess.run(
            command, cwd=cwd, env=PLAIN if env is None else env, capture_output=True, text=True, timeout=300
        )


def check(good: object, *facts: object) -> None:
    """Raise AssertionError with the facts unless `good`."""
    if not good:
        raise AssertionError(" ".join(map(str, facts)))


def answers(done: Done) -> None:
    """Check that one image was answered."""
    check(done.returncode == 0 and {"label", "eta", "alpha"} <= set(json.loads(done.stdout)) and not done.stderr, done)


def full_disk(here: Surroundings) -> str:
    for more in (["--json"], [], ["--help"], ["--version"], ["--topk", "60"], [str(here.folder / "none.jpg")]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(here.command(*more), env=PLAIN, stdout=full, stderr=subprocess.PIPE, text=True)
        check(done.returncode == 1 and done.stderr.count("Error: can't write the output: No space") == 1, more, done)
    return ""


def no_traces(here: Surroundings) -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    log, home = here.folder / "trace", here.folder / "home"
    trial = here.run(["strace", "-o", str(log), "true"])
    if trial.returncode != 0:
        return f"strace may not trace here ({trial.stderr.strip()})"
    home.mkdir()
    strace = ["strace", "-f", "-qq", "-e", f"trace={CALLS}", "-o", str(log)]

    def loud(more: dict[str, str]) -> list[str]:
        done = here.run([*strace, *here.command("--json", "--eta", "1")], env={**PLAIN, "HOME": str(home), **more})
        answers(done)
        lines = log.read_text().splitlines()
        check(len(lines) > 10, lines)
        return [line for line in lines if LOUD.search(line) and '"/dev/' not in line]

    calls = loud({})
    check(not calls and not list(home.iterdir()), calls)
    # Whoever wants the reports, gets them; it also shows that this test would see them. Before 1.29 there are none.
    print("   with ORT_DISABLE_TELEMETRY=0:", len(loud({"ORT_DISABLE_TELEMETRY": "0"})), "calls")
    return ""


def no_home(here: Surroundings) -> str:
    nowhere = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), "/nonexistent")
    for env in ({}, nowhere):
        answers(here.run(here.command("--json", "--eta", "1"), env={**PLAIN, **env}))
    return ""


def another_user(here: Surroundings) -> str:
    if os.getuid() != 0:
        return "only root can become another user"
    if shutil.which("setpriv") is None:
        return "setpriv is not installed"
    # A user without an account or a home, in a folder that it can't write to. It may read what root may: the library
    # may stand in an environment below a folder of mode 700.
    here.folder.chmod(0o755)
    bundle = shutil.copytree(here.bundle, here.folder / "copy.sacvit", ignore=shutil.ignore_patterns("plans"))
    for path in (bundle, *bundle.iterdir()):
        path.chmod(0o755)
    here = Surroundings(bundle, Path(shutil.copy(here.image, here.folder)), here.infer, here.folder)
    become = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    become += ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
    trial = here.run([*become, *here.infer, "--version"])
    if trial.returncode != 0:
        return f"another user can't run the program here ({trial.stderr.strip()})"
    answers(here.run([*become, *here.command("--json", "--eta", "1")], cwd=here.folder))
    return ""


def printable(here: Surroundings) -> str:
    """Line breaks and control characters of labels and names are shown escaped, and are exact in JSON."""
    bundle = shutil.copytree(here.bundle, here.folder / "copy.sacvit", ignore=shutil.ignore_patterns("plans"))
    name = "\x1b[31m \x07\x7f\x85\u2028end"
    labels = (bundle / "labels.txt").read_text().splitlines()
    raw = "".join(f"{name} {number}\n" for number in range(len(labels))).encode()
    (bundle / "labels.txt").write_bytes(raw)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = {"path": "labels.txt", "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    manifest |= {"labels": entry, "digest": "sha256:" + "0" * 64}
    text = json.dumps(manifest).encode()
    text = text.replace(b"sha256:" + b"0" * 64, b"sha256:" + hashlib.sha256(text).hexdigest().encode(), 1)
    (bundle / "manifest.json").write_bytes(text)
    image = here.folder / "a\nb\x1b.png"
    shutil.copy(here.image, image)
    here = Surroundings(bundle, image, here.infer, here.folder)
    done = here.run(here.command("--json"))
    answers(done)
    answer = json.loads(done.stdout)
    check(answer["label"].startswith(name + " ") and answer["source"] == str(image), done)
    done = here.run(here.command(str(here.folder / "no\nfile.jpg")))
    check(r"a\nb\x1b.png" in done.stdout and r"\x1b[31m \x07\x7f\x85\u2028end" in done.stdout, done)
    check(done.stderr.splitlines()[1:] == [f"Error: {here.folder}/no\\nfile.jpg does not exist"], done)
    check(
        len(done.stdout.splitlines()) == 3 and not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", done.stdout), done
    )
    # In a manifest, too.
    manifest["method"]["sel\necti\x1bon"] = 1
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    done = here.run(here.command())
    check(done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "\x1b" not in done.stderr, done)
    return ""


def odd_folder(here: Surroundings) -> str:
    folder = here.folder / "odd"
    folder.mkdir()
    os.mkfifo(folder / "b.jpg")
    (folder / "c.png").mkdir()
    (folder / "e.jpg").write_bytes(b"")
    for name in ("a.png", "._a.png", "d.JFIF"):
        shutil.copy(here.image, folder / name)
    for images in ([str(folder)], [f"{folder}/*.*"]):
        done = here.run([*here.infer, *images, "--bundle", str(here.bundle), "--json"])
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        check([Path(line["source"]).name for line in lines] == ["a.png", "d.JFIF", "e.jpg"], done)
        check(done.returncode == 1 and ["error" in line for line in lines] == [False, False, True], done)
    done = here.run([*here.infer, f"{folder}/b.jpg", "--bundle", str(here.bundle), "--json"])
    check(done.returncode == 1 and "is no regular file" in done.stdout, done)
    return ""


def limits(here: Surroundings) -> str:
    for option, said in (("--max-pixels", "over the limit of 1;"), ("--max-memory", "over the limit of 1 MB")):
        done = here.run(here.command("--json", option, "1"))
        check(done.returncode == 1 and said in json.loads(done.stdout)["error"], done)
        done = here.run(here.command("--json", option, "0"))
        check(done.returncode == 2 and option in done.stderr, done)
    answers(here.run(here.command("--json", "--max-pixels", "1000000", "--max-memory", "100")))
    return ""


def out_of_memory(here: Surroundings) -> str:
    """Where memory runs out, there is one line of error."""
    if shutil.which("prlimit") is None:
        return "prlimit is not installed"
    seen = set()
    for size in range(40, 640, 40):
        done = here.run(["prlimit", f"--as={size << 20}", *here.command("--json", "--eta", "1", "--threads", "1")])
        seen.add(done.returncode)
        lines = done.stderr.splitlines()
        check(done.returncode in (0, 1, 127) and len(lines) == (done.returncode != 0), size, done)
    return "" if 1 in seen else f"no limit was met ({seen})"


TESTS: tuple[Callable[[Surroundings], str], ...] = (
    full_disk, no_traces, no_home, another_user, printable, odd_folder, limits, out_of_memory,
)  # fmt: skip


def main() -> int:
    """Run all tests."""
    bundle, image, *infer = sys.argv[1:]
    failed = 0
    for test in TESTS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                reason = test(Surroundings(Path(bundle), Path(image), infer, Path(folder)))
                print(test.__name__, f"not run: {reason}" if reason else "passed")
            except AssertionError as error:
                failed += 1
                print(test.__name__, "FAILED", error)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
