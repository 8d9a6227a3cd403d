"""`sacvit infer --ray`: a folder's answers, in order, as the model itself gives them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import Prediction, SACViT
from tests.data import record

ray: Any = pytest.importorskip("ray", reason="NOT TESTED: Ray; `make test-serving` installs it")

pytestmark = [pytest.mark.serving, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
BUNDLE = record.ROOT / "examples/int8/model.sacvit"


def infer(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a process on the tests' Ray."""
    address = ray.get_runtime_context().gcs_address
    words = [sys.executable, "-m", "sacvit_deploy", "infer", "--bundle", str(BUNDLE), *map(str, arguments)]
    return subprocess.run(
        words, capture_output=True, text=True, timeout=300, env=os.environ | {"RAY_ADDRESS": address}, check=False
    )


@pytest.fixture(scope="module")
def model() -> SACViT:
    return SACViT(BUNDLE, precision="int8", backend="onnxruntime", threads=1)


@pytest.mark.parametrize("actors", ["2", "1+1"])
def test_a_folder(model: SACViT, tmp_path: Path, actors: str) -> None:
    folder = Path(shutil.copytree(record.ROOT / "examples/pictures", tmp_path / "pictures"))
    (folder / "05b_bad.jpg").write_bytes(b"no picture")
    lines = tmp_path / "answers.jsonl"
    done = infer(folder, "--ray", actors, "--jsonl", lines, "--batch", 8, "--topk", 3, "--backend", "onnxruntime")
    assert done.returncode == 1, done.stderr
    assert "41 images; 1 failed; 25 exited at stage 1, 15 continued (38%)" in done.stdout
    assert "on Ray" in done.stderr and "05b_bad.jpg is not an image" in done.stderr
    assert done.stdout.splitlines()[1].endswith("2 SAC        -")
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [one["source"] for one in records] == [str(path) for path in sorted(folder.iterdir())]
    for one in records:
        expected = model.predict_batch([one["source"]])[0]
        if not isinstance(expected, Prediction):
            assert one["error"].endswith(str(expected).removeprefix(str(folder)))
            continue
        told = expected.to_dict(3)
        for name in ("label", "index", "stage", "targets", "grid"):
            assert one[name] == told[name], name
        assert one["probability"] == pytest.approx(expected.probability, abs=1e-5)
        assert [each["label"] for each in one["topk"]] == [each["label"] for each in told["topk"]]
        assert one["timing_ms"] == {}
    again = infer(folder, "--ray", actors, "--jsonl", lines, "--resume", "--backend", "onnxruntime")
    assert "1 image; 40 answered before; 1 failed" in again.stdout, again.stderr


def test_a_ray_that_is_not_there() -> None:
    words = [sys.executable, "-m", "sacvit_deploy", "infer", "--bundle", str(BUNDLE), str(record.TINY_IMAGES[0])]
    env = os.environ | {
        "RAY_ADDRESS": "127.0.0.1:1",
        "RAY_NUM_REDIS_GET_RETRIES": "1",
        "RAY_py_gcs_connect_timeout_s": "2",
    }
    done = subprocess.run([*words, "--ray", "2"], capture_output=True, text=True, timeout=300, env=env, check=False)
    assert done.returncode == 1
    assert "can't connect to Ray" in done.stderr.splitlines()[-1]
