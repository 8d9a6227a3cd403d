"""Where TensorRT-RTX is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sacvit_deploy.engines.build import build_plan
from sacvit_deploy.engines.library import load_library
from sacvit_deploy.errors import BackendError


def test_a_missing_library_gives_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # an import of it now fails
    load = load_library.__wrapped__  # a library that another test loaded stays loaded
    with pytest.raises(
        BackendError, match=r"^TensorRT-RTX can't be loaded \(.*\); install it with: pip install"
    ) as said:
        load()
    assert "pip install 'sacvit-deploy[tensorrt-rtx]'" in str(said.value)
    assert "\n" not in str(said.value)


def test_building_without_the_library_fails_with_that_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    monkeypatch.setattr("sacvit_deploy.engines.network.load_library", load_library.__wrapped__)
    with pytest.raises(BackendError, match="TensorRT-RTX can't be loaded"):
        build_plan(Path("ee.fp32.onnx"), {}, ["8.6"])


def test_the_room_is_imported_without_the_library_and_without_torch() -> None:
    code = (
        "import sys, sacvit_deploy.engines.build, sacvit_deploy.engines.profiles\n"
        "assert not {'tensorrt_rtx', 'torch', 'onnx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
