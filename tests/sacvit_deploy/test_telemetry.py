"""Switching off the libraries' telemetry: what is set, and what a user has set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit_deploy.backends import telemetry
from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.backends.openvino.backend import load_library as load_openvino
from sacvit_deploy.backends.telemetry import ONNXRUNTIME, OPENVINO, opted_in, silence_onnxruntime, silence_openvino

REPOSITORY = Path(__file__).parents[2]


def test_onnxruntime_is_switched_off_where_c_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ONNXRUNTIME, raising=False)
    load_library()
    assert os.environ[ONNXRUNTIME] == "1"
    # A child gets what is in C's environment, not Python's dictionary.
    done = subprocess.run(["printenv", ONNXRUNTIME], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("value", ["0", "1", ""])
def test_a_users_value_stays(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ONNXRUNTIME, value)
    silence_onnxruntime()
    assert os.environ[ONNXRUNTIME] == value


def home_with(folder: Path, consent: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a home folder with OpenVINO's file of consent, where this system has it."""
    monkeypatch.setenv("HOME", str(folder))
    if consent is not None:
        (folder / "intel").mkdir()
        (folder / "intel" / OPENVINO).write_text(consent)


@pytest.mark.parametrize(("consent", "expected"), [(None, False), ("0", False), ("1\n", True), ("yes", False)])
def test_consent_is_read(consent: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_with(tmp_path, consent, monkeypatch)
    assert opted_in() is expected


def test_consent_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert not opted_in()
    (tmp_path / "Intel Corporation").mkdir()
    (tmp_path / "Intel Corporation" / OPENVINO).write_text("1")
    assert opted_in()


def test_no_home_is_no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(telemetry.Path, "home", homeless)
    assert not opted_in()


def test_openvino_runs_on_its_stand_in() -> None:
    """In a process of its own, as here openvino may be loaded."""
    code = """
import sys
from sacvit_deploy.backends.openvino.backend import load_library
library = load_library()
from openvino.tools.ovc import telemetry_utils
assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub", telemetry_utils.tm
library.Core()
import openvino.tools.ovc.convert_impl  # a part that is loaded later
assert openvino.tools.ovc.convert_impl.tm is telemetry_utils.tm
"""
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": os.defpath, "HOME": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_users_who_opted_in_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_with(tmp_path, "1", monkeypatch)
    monkeypatch.delitem(sys.modules, OPENVINO, raising=False)
    silence_openvino()
    assert OPENVINO not in sys.modules


def test_a_loaded_package_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home_with(tmp_path, None, monkeypatch)
    monkeypatch.setitem(sys.modules, OPENVINO, sys)
    load_openvino()
    assert sys.modules[OPENVINO] is sys
