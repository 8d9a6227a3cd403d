"""CUDA where there is none; where there is a GPU, its memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sacvit_deploy.device.cuda import CudaMemory, call, find_gpu, load_library
from sacvit_deploy.errors import BackendError


def has_gpu() -> bool:
    try:
        find_gpu()
    except BackendError:
        return False
    return True


def test_missing_bindings_give_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", None)
    with pytest.raises(BackendError, match=r"CUDA bindings can't be loaded .*; install it with: pip install"):
        load_library.__wrapped__()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_why() -> None:
    pytest.importorskip("cuda.bindings", reason="the CUDA bindings are not installed")
    with pytest.raises(BackendError) as said:
        find_gpu()
    assert "CUDA" in str(said.value)
    assert "\n" not in str(said.value)
    with pytest.raises(BackendError):
        call("cudaMalloc", 1)


@pytest.mark.skipif(not has_gpu(), reason="there is no GPU: CUDA's memory and streams are NOT TESTED")
def test_what_goes_up_comes_down() -> None:
    memory = CudaMemory()
    stream = memory.stream()
    source = memory.pinned((1000,), np.dtype(np.int64))
    source[:] = np.arange(1000)
    target = memory.pinned((1000,), np.dtype(np.int64))
    first, second = (memory.allocate(source.shape, source.dtype) for _ in range(2))
    start = memory.record_event(stream)
    memory.upload(first, source, stream)
    memory.copy(second, first, stream)
    memory.download(target, second, stream)
    end = memory.record_event(stream)
    memory.synchronize(end)
    np.testing.assert_array_equal(target, source)
    assert memory.elapsed(start, end) > 0
    memory.free(first)
    memory.free(second)
