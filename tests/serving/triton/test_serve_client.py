"""Triton's own client talks to `sacvit serve`: its KServe v2 is what other servers speak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sacvit_deploy import SACViT
from tests.servers import BUNDLE, MISSING, REASON, ROOT, serving

client: Any = pytest.importorskip(
    "tritonclient.http", reason="NOT TESTED: sacvit serve with Triton's client; `make test-serving` installs it"
)
pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
PICTURES = sorted((ROOT / "examples/pictures").iterdir())


def test_health_metadata_and_infer() -> None:
    model = SACViT(BUNDLE, threads=1)
    with serving() as server:
        there = client.InferenceServerClient(f"127.0.0.1:{server.port}", connection_timeout=60, network_timeout=120)
        assert there.is_server_live() and there.is_server_ready() and there.is_model_ready("model")
        assert {tensor["name"] for tensor in there.get_model_metadata("model")["inputs"]} == {"image", "pictures"}
        files = np.array([path.read_bytes() for path in PICTURES], dtype=object)
        tensor = client.InferInput("image", list(files.shape), "BYTES")
        tensor.set_data_from_numpy(files)
        expected = [model.predict(path) for path in PICTURES]
        answer = there.infer("model", [tensor], request_id="7")
        assert answer.get_response()["id"] == "7"
        assert answer.as_numpy("label").tolist() == [prediction.label for prediction in expected]
        assert answer.as_numpy("stage").tolist() == [prediction.stage for prediction in expected]
        for row, prediction in zip(answer.as_numpy("targets"), expected, strict=True):
            assert row.tolist() == ([-1] * 24 if prediction.targets is None else prediction.targets.tolist())
        grey = np.full((1, 60, 60, 3), 9, np.uint8)
        for binary in (True, False):
            pixels = client.InferInput("pictures", list(grey.shape), "UINT8")
            pixels.set_data_from_numpy(grey, binary_data=binary)
            answer = there.infer(
                "model", [pixels], outputs=[client.InferRequestedOutput("index")], parameters={"eta": 1.0}
            )
            assert answer.as_numpy("index").tolist() == [model.predict(grey[0], eta=1.0).index]
        there.close()
