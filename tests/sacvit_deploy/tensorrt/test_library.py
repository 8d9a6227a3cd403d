"""Where a library is missing, and what each of the three kinds is asked for."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sacvit_deploy.backends.tensorrt.compat import device_memory, network_flags, set_capabilities
from sacvit_deploy.backends.tensorrt.library import RUNTIMES, Library, first_library, load_library
from sacvit_deploy.errors import BackendError, UsageError


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_missing_library_gives_the_install_command(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = RUNTIMES[runtime]
    monkeypatch.setitem(sys.modules, vendor.module, None)  # an import of it now fails
    load = load_library.__wrapped__  # a library that another test loaded stays loaded
    with pytest.raises(BackendError) as said:
        load(runtime)
    assert str(said.value).startswith(f"{vendor.title} can't be loaded (")
    assert str(said.value).endswith(f"install it with: {vendor.install}")
    assert "\n" not in str(said.value)


def test_an_unknown_runtime_is_bad_usage() -> None:
    with pytest.raises(UsageError, match="unknown runtime 'tensorflow'; there are: tensorrt, tensorrt-rtx"):
        load_library("tensorflow")


def test_without_any_library_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacvit_deploy.backends.tensorrt.library.load_library", load_library.__wrapped__)
    for vendor in RUNTIMES.values():
        monkeypatch.setitem(sys.modules, vendor.module, None)
    with pytest.raises(BackendError, match="^TensorRT can't be loaded .*; TensorRT-RTX can't be loaded"):
        first_library()


def test_the_rooms_are_imported_without_the_libraries_and_without_torch() -> None:
    code = (
        "import sys, sacvit_deploy.engines.build, sacvit_deploy.engines.plan_folder, sacvit_deploy.engines.cli\n"
        "import sacvit_deploy.backends.tensorrt.backend\n"
        "assert not {'tensorrt', 'tensorrt_rtx', 'torch', 'onnx', 'cuda'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def library(runtime: str, **flags: Any) -> Library:
    """A library that has these network flags."""
    return Library(runtime, SimpleNamespace(NetworkDefinitionCreationFlag=SimpleNamespace(**flags)), None, [])


def test_strongly_typed_is_a_flag_where_there_is_one() -> None:
    assert network_flags(library("tensorrt", EXPLICIT_BATCH=0, STRONGLY_TYPED=1)) == 2  # TensorRT 10
    assert network_flags(library("tensorrt-rtx", STRONGLY_TYPED=0)) == 1
    assert network_flags(library("tensorrt")) == 0  # a library whose networks always are


def test_only_rtx_compiles_for_other_gpus() -> None:
    set_capabilities(library("tensorrt"), None, ())
    with pytest.raises(UsageError, match="only TensorRT-RTX"):
        set_capabilities(library("tensorrt"), None, ("8.6",))


def test_device_memory_by_either_name() -> None:
    assert device_memory(SimpleNamespace(device_memory_size=5)) == 5  # the older name alone
    assert device_memory(SimpleNamespace(device_memory_size_v2=0, device_memory_size=5)) == 0
