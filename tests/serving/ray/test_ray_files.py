"""`sacvit infer --ray`: a folder's answers, in order, as the model itself gives them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.ray.files import Actors, begin_files
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


def test_a_list_with_a_line_that_is_no_source(model: SACViT, tmp_path: Path) -> None:
    files = sorted((record.ROOT / "examples/pictures").iterdir())[:2]
    (tmp_path / "list.txt").write_text(f"{files[0]}\nftp://x/y.jpg\n{files[1]}\n")
    done = infer(tmp_path / "list.txt", "--ray", 1, "--json", "--backend", "onnxruntime")
    assert done.returncode == 1, done.stderr
    first, bad, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert [first["label"], last["label"]] == [model.predict(path).label for path in files]
    assert [one["position"] for one in (first, bad, last)] == [0, 1, 2]
    assert bad["source"] == "ftp://x/y.jpg" and "ftp" in bad["error"]


def test_processes_that_fail_are_one_line(model: SACViT, tmp_path: Path) -> None:
    """As where the bundle does not lie at the same path on another machine."""
    folder = Path(shutil.copytree(BUNDLE, tmp_path / "model.sacvit"))
    opened = SACViT(folder, precision="int8", threads=1)
    shutil.rmtree(folder)
    how = {"threads": 1, "precision": "int8", "backend": "onnxruntime"}
    with pytest.raises(SacvitError, match=r"^a process on Ray failed: .*model\.sacvit does not exist") as caught:
        list(begin_files(opened, Actors(1), how, print, [record.TINY_IMAGES[0]], eta=0.6, alpha=0.25, batch_size=1))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
def test_sigterm_ends_it_as_it_ends_every_command(tmp_path: Path) -> None:
    lines = tmp_path / "answers.jsonl"
    (tmp_path / "list.txt").write_text(f"{record.ROOT / 'examples/pictures'}\n" * 200)
    address = ray.get_runtime_context().gcs_address
    words = [sys.executable, "-m", "sacvit_deploy", "infer", "--bundle", str(BUNDLE), str(tmp_path / "list.txt")]
    process = subprocess.Popen(
        [*words, "--ray", "1", "--jsonl", str(lines)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"RAY_ADDRESS": address},
    )  # fmt: skip
    try:
        wait_until(lambda: lines.exists() and lines.stat().st_size > 0, process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143, said
    assert said.splitlines()[-1] == "Error: terminated"


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait, two minutes at most, while a process runs."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def test_a_cluster_that_is_taken_is_told_of(model: SACViT) -> None:
    @ray.remote(num_cpus=2)
    class Holder:
        def ready(self) -> None:
            pass

    holder = Holder.remote()
    ray.get(holder.ready.remote(), timeout=60)
    said: list[str] = []
    how = {"threads": 1, "precision": "int8", "backend": "onnxruntime"}
    try:
        stream = begin_files(
            model, Actors(1), how, said.append, [record.TINY_IMAGES[0]], eta=0.6, alpha=0.25, batch_size=1
        )
    finally:
        ray.kill(holder)
    (answer,) = list(stream)
    assert isinstance(answer, Prediction)
    assert said == ["waiting for 1 of Ray's CPUs, of which 0 are free"]


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
