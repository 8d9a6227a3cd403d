"""Importing an optional library: one sentence where it can't be loaded, whatever the library prints."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.errors import BackendError, import_library

# What a module built for NumPy 1 does when it is loaded: it asks NumPy 2 for an array of functions that has moved.
OLD = """
import sys
from numpy.core._multiarray_umath import _ARRAY_API
raise ImportError
"""


def write(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module that can be imported, and return its name."""
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="NumPy 1 loads such a module")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_library_built_for_numpy_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(tmp_path, "built_for_numpy_1", OLD, monkeypatch)
    with pytest.raises(BackendError) as raised:
        import_library(name, "Old Runtime", "pip install old")
    message = str(raised.value)
    assert "this Old Runtime was built for NumPy 1" in message and f"NumPy {np.__version__}" in message
    assert "pip install 'numpy<2'" in message and "\n" not in message
    assert capsys.readouterr().err == ""


def test_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"Some Runtime can't be loaded \(No module named .*pip install some"):
        import_library("no_such_library_here", "Some Runtime", "pip install some")
    name = write(tmp_path, "says_nothing", "raise ImportError\n", monkeypatch)
    with pytest.raises(BackendError, match=r"\(ImportError\)"):
        import_library(name, "Some Runtime", "pip install some")


def test_warnings_of_a_library_that_loads_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = write(tmp_path, "warns", "import sys\nprint('beware', file=sys.stderr)\n", monkeypatch)
    assert import_library(name, "Some Runtime", "pip install some").__name__ == name
    assert capsys.readouterr().err == "beware\n"
