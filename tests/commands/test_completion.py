"""What the shell completes, asked as bash asks."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def completed(line: str, folder: Path = REPOSITORY) -> list[str]:
    """The completions of a line's last word."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_SACVIT_COMPLETE": "bash_complete",
    }
    program = Path(sysconfig.get_path("scripts")) / "sacvit"
    done = subprocess.run([program], cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_names() -> None:
    assert completed("sacvit in") == ["plain,infer", "plain,inspect", "plain,inputs"]
    assert completed("sacvit infer --precision ") == ["plain,auto", "plain,fp32", "plain,fp16", "plain,int8"]
    assert completed("sacvit eval --backend on") == ["plain,onnxruntime"]
    assert "plain,webgpu" in completed("sacvit infer --device w")
    assert completed("sacvit infer --keep l") == ["plain,latest"]
    assert "plain,--max-delay" in completed("sacvit infer a.jpg --max-d")


def test_files_and_bundles(tmp_path: Path) -> None:
    (tmp_path / "one.sacvit").mkdir()
    (tmp_path / "other").mkdir()
    assert completed("sacvit infer --bundle o", tmp_path) == ["plain,one.sacvit"]
    assert completed("sacvit inspect examples/int8/") == ["plain,examples/int8/model.sacvit"]
    assert completed("sacvit infer --bundle ot", tmp_path) == ["dir,ot"]
    assert completed("sacvit infer o", tmp_path) == ["file,o"]


@pytest.mark.parametrize("line", ["sacvit infer --eta 0.5 --eta 0.6 --kee", "sacvit infer --nonsense --kee"])
def test_a_line_that_will_be_refused_is_completed(line: str) -> None:
    assert completed(line) == ["plain,--keep"]
