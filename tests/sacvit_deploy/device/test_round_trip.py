"""An engine on a device with arrays in and out, and memory that is given back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.backends.tensorrt.backend import RoundTrip
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.errors import BackendError


@pytest.fixture
def device(tiny_bundle: Path) -> OnnxRuntimeDevice:
    return OnnxRuntimeDevice(SessionFactory(1), open_bundle(tiny_bundle).checked_files("fp16"))


def test_it_answers_as_a_session_does(device: OnnxRuntimeDevice, tiny_bundle: Path) -> None:
    engine = RoundTrip(device, "ee")
    session = OnnxRuntimeBackend("cpu", 1).open(tiny_bundle / "ee.fp16.onnx", None)
    for batch in (1, 3):
        image = np.random.default_rng(batch).standard_normal((batch, 3, 112, 112))  # cast to what the engine takes
        found, expected = engine.run({"image": image}), session.run({"image": image})
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    assert engine.input_dtype("image") == np.float16
    assert isinstance(device.memory, HostMemory)
    assert device.memory._kept == {}  # all of it was freed


def test_a_missing_input_and_a_failed_call_leave_no_memory(device: OnnxRuntimeDevice) -> None:
    engine = RoundTrip(device, "ee")
    with pytest.raises(BackendError, match="`image`, which this stage is not given"):
        engine.run({"picture": np.zeros((1, 3, 112, 112))})
    with pytest.raises(BackendError, match=r"ee\.fp16\.onnx failed"):
        engine.run({"image": np.zeros((1, 3, 50, 50))})
    assert device.memory._kept == {}  # type: ignore[attr-defined]
