"""Names of devices."""

from __future__ import annotations

import pytest

from sacvit_deploy import UsageError
from sacvit_deploy.backends.device_name import parse_device, split_devices
from sacvit_deploy.backends.onnxruntime.device import cuda_options
from sacvit_deploy.backends.onnxruntime.plugins import same_provider
from sacvit_deploy.backends.open import open_backend


@pytest.mark.parametrize(
    ("text", "name", "number", "is_cpu"),
    [
        (None, "cpu", 0, True),
        ("CPU", "cpu", 0, True),
        ("cuda", "cuda", 0, False),
        ("cuda:1", "cuda", 1, False),
        (" WebGPU ", "webgpu", 0, False),
        ("CoreMLExecutionProvider:2", "coremlexecutionprovider", 2, False),
    ],
)
def test_what_names_mean(text: str | None, name: str, number: int, is_cpu: bool) -> None:
    device = parse_device(text)
    assert (*device, device.is_cpu) == (name, number, is_cpu)


@pytest.mark.parametrize("text", [":1", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cpu:1", " "])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="--device "):
        parse_device(text)


def test_several_devices() -> None:
    assert split_devices(None) == [None] and split_devices("cuda:1") == ["cuda:1"]
    assert split_devices("cuda:0, cuda:1") == ["cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("cuda,cuda:0", "twice"), ("cuda,cpu", "their own tensors"), ("cuda:0,", "a name is missing")],
)
def test_what_are_no_several_devices(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        split_devices(text)


def test_a_limit_of_a_gpus_memory_is_in_bytes() -> None:
    assert cuda_options(5, 1, None) == {"user_compute_stream": "5", "device_id": "1"}
    assert cuda_options(5, 1, 3) == {
        "user_compute_stream": "5",
        "device_id": "1",
        "gpu_mem_limit": "3145728",
        "arena_extend_strategy": "kSameAsRequested",
    }


@pytest.mark.parametrize("limit", [0, True, 1.5, "2"])
def test_what_is_no_limit_of_a_gpus_memory(limit: object) -> None:
    with pytest.raises(UsageError, match="a whole number of MB"):
        open_backend(device="cuda", device_memory=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize(("backend", "device"), [("auto", None), ("auto", "webgpu"), ("tensorrt", "cuda")])
def test_where_there_is_no_limit_of_a_gpus_memory(backend: str, device: str | None) -> None:
    with pytest.raises(UsageError, match="--device-memory is for --device cuda"):
        open_backend(backend, device=device, device_memory=100)


def test_providers_in_full_and_in_short() -> None:
    for name in ("webgpu", "WebGpu", "WebGpuExecutionProvider", "webgpuexecutionprovider"):
        assert same_provider("WebGpuExecutionProvider", name)
    assert not same_provider("CUDAExecutionProvider", "webgpu")
