"""The processor's backends behind the protocol: what is asked for is what runs, or there is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.backend import OnnxRuntimeBackend
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.cpu import usable_cores
from sacvit_deploy.errors import BackendError, UsageError

ON_CPU = pytest.mark.parametrize("name", ["onnxruntime", "openvino"])


@pytest.fixture(scope="module")
def files(tiny_bundle: Path) -> dict[str, dict[str, Path]]:
    opened = open_bundle(tiny_bundle)
    return {precision: opened.checked_files(precision) for precision in opened.manifest.variants}


def sac_inputs(batch: int, targets: int) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {
        "patches": rng.standard_normal((batch, 4 * targets, 768)),
        "positions": np.tile(np.arange(4 * targets), (batch, 1)),
        "target_features": rng.standard_normal((batch, targets, 64)),
        "background": rng.standard_normal((batch, 49 - targets, 64)),
    }


@ON_CPU
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("batch", [1, 3])
def test_engines_keep_the_contract(files: dict[str, dict[str, Path]], name: str, precision: str, batch: int) -> None:
    backend = open_backend(name, threads=1)
    kind = np.dtype(np.float32 if precision == "fp32" else np.float16)
    ee = backend.open(files[precision]["ee"], files[precision]["weights"])
    assert ee.input_dtype("image") == kind
    # Inputs of another type and layout are cast.
    out = ee.run({"image": np.zeros((batch, 112, 112, 3)).transpose(0, 3, 1, 2)})
    shapes = {name: (array.shape, array.dtype.name) for name, array in out.items()}
    assert shapes == {
        "logits": ((batch, 10), "float32"),
        "scores": ((batch, 49), "float32"),
        "features": ((batch, 49, 64), kind.name),
        "embeddings": ((batch, 49, 64), kind.name),
    }
    sac = backend.open(files[precision]["sac"], files[precision]["weights"])
    assert [sac.input_dtype(name) for name in sac_inputs(1, 1)] == [kind, np.int64, kind, kind]
    for targets in (1, 24, 48):
        logits = sac.run(sac_inputs(batch, targets))["logits"]
        assert (logits.shape, logits.dtype.name) == ((batch, 10), "float32")
        assert np.isfinite(logits).all()


def test_mapped_and_packed_weights_give_the_same(files: dict[str, dict[str, Path]]) -> None:
    outputs = []
    for weights in ("packed", "mapped"):
        sac = open_backend(threads=1, weights=weights).open(files["fp32"]["sac"], files["fp32"]["weights"])
        outputs.append(sac.run(sac_inputs(2, 24))["logits"])
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-4)


@pytest.mark.parametrize(("name", "title"), [("onnxruntime", "ONNX Runtime "), ("openvino", "OpenVINO ")])
def test_description_names_library_device_and_threads(name: str, title: str) -> None:
    description = open_backend(name, threads=3).description
    assert description.startswith(title)
    assert "CPU" in description
    assert "3 threads" in description
    assert f"{usable_cores()} threads" in open_backend().description


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider", None])
def test_names_of_the_cpu(name: str | None) -> None:
    assert isinstance(backend := open_backend(device=name), OnnxRuntimeBackend)
    assert backend.provider == "CPUExecutionProvider"


def test_provider_that_is_not_there() -> None:
    with pytest.raises(BackendError, match="no provider NonsenseProvider; it offers .*CPUExecutionProvider"):
        open_backend(device="NonsenseProvider")


def test_cuda_runs_or_is_refused(files: dict[str, dict[str, Path]]) -> None:
    # The GPU build of ONNX Runtime lists CUDA even where it can't load; then the session must be refused.
    try:
        engine = open_backend(device="cuda", threads=1).open(files["fp32"]["ee"], None)
    except BackendError as error:
        assert "CUDAExecutionProvider" in str(error) or "no provider cuda" in str(error)
    else:
        assert engine._session.get_providers()[0] == "CUDAExecutionProvider"  # type: ignore[attr-defined]


def test_backend_and_settings_that_do_not_exist() -> None:
    with pytest.raises(UsageError, match="unknown backend 'abacus'; there are: auto, onnxruntime"):
        open_backend("abacus")
    with pytest.raises(UsageError, match="--device cuda: openvino runs on cpu"):
        open_backend("openvino", device="cuda")
    for where in ({}, {"device": "cpu"}, {"device": "CoreML"}):
        with pytest.raises(UsageError, match="--capture is for --device webgpu and cuda"):
            open_backend(capture=True, **where)
    with pytest.raises(UsageError, match="threads is 0"):
        open_backend(threads=0)
    with pytest.raises(UsageError, match="weights is 'lost'"):
        open_backend(weights="lost")


@ON_CPU
def test_engine_files_that_can_not_be_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.onnx").write_text("no engine")
    for file in ("text.onnx", "none.onnx"):
        with pytest.raises(BackendError, match=f"can't load .*{file}") as caught:
            open_backend(name, threads=1).open(tmp_path / file, None)
        assert "\n" not in str(caught.value)


@ON_CPU
def test_missing_and_misshapen_inputs(files: dict[str, dict[str, Path]], name: str) -> None:
    engine = open_backend(name, threads=1).open(files["fp32"]["sac"], files["fp32"]["weights"])
    inputs = sac_inputs(1, 24)
    with pytest.raises(BackendError, match=r"sac\.fp32\.onnx failed"):
        engine.run({**inputs, "patches": inputs["patches"][:, :, :7]})
    del inputs["background"]
    with pytest.raises(BackendError, match=r"sac\.fp32\.onnx.*background"):
        engine.run(inputs)
