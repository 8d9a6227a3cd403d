"""Names of devices."""

from __future__ import annotations

import pytest

from sacvit_deploy import UsageError
from sacvit_deploy.backends.device_name import parse_device
from sacvit_deploy.backends.onnxruntime.plugins import same_provider


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


def test_providers_in_full_and_in_short() -> None:
    for name in ("webgpu", "WebGpu", "WebGpuExecutionProvider", "webgpuexecutionprovider"):
        assert same_provider("WebGpuExecutionProvider", name)
    assert not same_provider("CUDAExecutionProvider", "webgpu")
