"""What ONNX Runtime for GPUs needs and says where there is no GPU. CUDA itself is NOT RUN here."""

from __future__ import annotations

import threading
from types import ModuleType

import onnxruntime
import pytest

from sacvit_deploy.backends.onnxruntime.preload import preload_cuda
from sacvit_deploy.backends.onnxruntime.row_models import add_model
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.errors import BackendError

VERSION = tuple(map(int, onnxruntime.__version__.split(".")[:2]))


def test_libraries_are_loaded_once_and_stdout_stays_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """The real preloader prints what it can't find, and whatever was printed first stood before a command's JSON."""
    library, calls = ModuleType("onnxruntime"), []

    def preload_dlls() -> None:
        calls.append(1)
        print("Failed to load libcublas.so.13")

    library.preload_dlls = preload_dlls  # type: ignore[attr-defined]
    threads = [threading.Thread(target=preload_cuda, args=(library,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("{}")
    said = capsys.readouterr()
    assert calls == [1]
    assert (said.out, said.err) == ("{}\n", "Failed to load libcublas.so.13\n")


def test_an_onnxruntime_that_can_not_preload_is_left_alone() -> None:
    preload_cuda(ModuleType("onnxruntime"))  # before 1.21


def test_sessions_on_cuda_alone_preload(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("sacvit_deploy.backends.onnxruntime.session.preload_cuda", asked.append)
    SessionFactory(1).open(add_model())
    assert asked == []
    with pytest.raises(BackendError), pytest.warns(UserWarning, match="CUDAExecutionProvider"):
        SessionFactory(1, "CUDAExecutionProvider").open(add_model())
    assert asked == [onnxruntime]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this one has CUDA")
def test_without_cuda_the_error_names_what_brings_it() -> None:
    with (
        pytest.raises(
            BackendError, match=r"gave CPUExecution.* pip install 'sacvit-deploy\[gpu\]', libcuda with NVIDIA"
        ),
        pytest.warns(UserWarning),
    ):
        SessionFactory(1, "CUDAExecutionProvider").open(add_model())


@pytest.mark.skipif(VERSION < (1, 23), reason="before 1.23 the library can't be told to print no banner")
def test_a_provider_that_fails_prints_no_banner(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As TensorRT's provider does without TensorRT: the library's own session prints, and opens on the CPU."""

    def fail(*_: object) -> None:
        raise RuntimeError("Please install TensorRT libraries")

    monkeypatch.setattr(onnxruntime.InferenceSession, "_create_inference_session", fail)
    with pytest.raises(BackendError, match="Please install TensorRT libraries"):
        SessionFactory(1).open(add_model())
    assert capsys.readouterr().out == ""
