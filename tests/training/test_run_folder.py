"""The folder of a run: one training at a time, tidied up after killed ones."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit_deploy.errors import UsageError
from sacvit_deploy.locks import LOCK
from sacvit_deploy.training.parallel import Team
from sacvit_deploy.training.run_folder import LOG, alone_in

TRAIN = (
    "import sys; from pathlib import Path; from sacvit_deploy.training.parallel import Team\n"
    "from sacvit_deploy.training.run_folder import alone_in\n"
    "with alone_in(Path(sys.argv[1]), Team()): print('training', flush=True); sys.stdin.read()"
)


def test_a_second_training_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first = subprocess.Popen([sys.executable, "-c", TRAIN, str(out)], text=True, **pipes)  # type: ignore[call-overload]
    assert first.stdout.readline() == "training\n"
    said = r"another training is running in .*run; wait for it, or choose another --out"
    with pytest.raises(UsageError, match=said), alone_in(out, Team()):
        pass
    first.kill()
    assert first.wait(60) == -signal.SIGKILL
    first.communicate()
    with alone_in(out, Team()):
        assert (out / LOCK).exists()
    assert list(out.iterdir()) == []


def test_what_killed_runs_left_is_tidied_up(tmp_path: Path) -> None:
    work = tmp_path / ".state.pt.partial-abcd"
    work.mkdir()
    (work / LOCK).touch()
    (work / "state.pt").write_bytes(b"half")
    for text, kept in (('{"a": 1}\n{"b', '{"a": 1}\n'), ('{"a"', ""), ('{"a": 1}\n', '{"a": 1}\n'), ("", "")):
        (tmp_path / LOG).write_text(text)
        with alone_in(tmp_path, Team()):
            assert (tmp_path / LOG).read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == [LOG]
