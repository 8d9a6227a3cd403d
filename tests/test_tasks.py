"""The programs of examples/tasks do what docs/tasks.md says of them, on the example bundle."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy import SACViT

REPOSITORY = Path(__file__).parents[1]
TASKS = REPOSITORY / "examples/tasks"
BUNDLE = REPOSITORY / "examples/int8/model.sacvit"
PICTURES = REPOSITORY / "examples/pictures"
IMAGE = PICTURES / "01_panda_medium.jpg"
PATIENCE = 300  # seconds for a program that needs a few
pytestmark = pytest.mark.slow


def run(name: str, *arguments: Any, folder: Path) -> str:
    """Run a program of examples/tasks in a folder, and return what it prints."""
    program = [sys.executable] if name.endswith(".py") else ["sh"]
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    done = subprocess.run(
        [*program, TASKS / name, *map(str, arguments)],
        cwd=folder, env={**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def model() -> SACViT:
    return SACViT(BUNDLE, threads=1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six of the example's images, one of them damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in sorted(PICTURES.glob("*.jpg"))[:6]:
        shutil.copy(path, folder)
    (folder / "zz.jpg").write_bytes(IMAGE.read_bytes()[:2000])
    return folder


def test_every_program_is_in_the_document() -> None:
    document = (REPOSITORY / "docs/tasks.md").read_text(encoding="utf-8")
    for path in TASKS.iterdir():
        assert f"examples/tasks/{path.name}" in document
    assert "cpp/examples/embed" in document  # ctest's `package` builds and runs it


def test_folder_to_csv(images: Path, tmp_path: Path, model: SACViT) -> None:
    run("folder_to_csv.py", images, "answers.csv", BUNDLE, folder=tmp_path)
    rows = list(csv.DictReader((tmp_path / "answers.csv").open(encoding="utf-8")))
    assert [row["label"] for row in rows[:6]] == [model.predict(row["image"]).label for row in rows[:6]]
    assert rows[6]["label"] == "" and "zz.jpg is damaged" in rows[6]["error"]


def test_opencv_loop(tmp_path: Path, model: SACViT) -> None:
    cv2 = pytest.importorskip("cv2", reason="NOT TESTED: the OpenCV loop; pip install opencv-python-headless")
    paths = sorted(PICTURES.glob("*.jpg"))[:5]
    frames = [np.array(Image.open(path).convert("RGB").resize((256, 256))) for path in paths]
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (256, 256))
    for frame in frames:
        video.write(frame[..., ::-1])
    video.release()
    lines = run("opencv_loop.py", "clip.avi", BUNDLE, folder=tmp_path).splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == [f"frame {number}" for number in range(5)]
    assert [line.split(": ")[1].rsplit(" ", 3)[0] for line in lines[:-1]] == [model.predict(f).label for f in frames]
    assert lines[-1] == "5 frames, 0 dropped"


def test_fastapi_handler(tmp_path: Path, model: SACViT) -> None:
    for module in ("fastapi", "uvicorn"):
        pytest.importorskip(module, reason=f"NOT TESTED: the FastAPI handler; pip install {module}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "fastapi_handler:app", "--port", str(port), "--app-dir", TASKS],
        cwd=tmp_path, env={**os.environ, "BUNDLE": str(BUNDLE), "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    try:
        answer = post(port, IMAGE.read_bytes())
        assert answer["label"] == model.predict(IMAGE).label and answer["stage"] in (1, 2)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            post(port, b"no image")
    finally:
        server.terminate()
        server.wait(PATIENCE)


def post(port: int, body: bytes) -> Any:
    """Send an image to the server, once it answers at all."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/predict", data=body, timeout=PATIENCE) as response:
                return json.load(response)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def test_process_pool(images: Path, tmp_path: Path, model: SACViT) -> None:
    (images / "zz.jpg").unlink()
    lines = run("process_pool.py", images, BUNDLE, folder=tmp_path).splitlines()
    assert lines == [f"{path.name}\t{model.predict(path).label}" for path in sorted(images.iterdir())]


def test_pick_device(tmp_path: Path, model: SACViT) -> None:
    bundle = REPOSITORY / "tests/data/before"
    chosen, answer, *devices = run("pick_device.py", IMAGE, bundle, folder=tmp_path).splitlines()
    assert chosen.startswith("chosen: ") and answer.startswith("Prediction(")
    assert re.match(r"cpu: ONNX Runtime .*CPU.*: \w+", devices[0])
    assert [line.split(": ")[0] for line in devices] == ["cpu", "cuda:0", "webgpu"]


def test_own_labels(tmp_path: Path, model: SACViT) -> None:
    shutil.copytree(BUNDLE, tmp_path / "b.sacvit")
    (tmp_path / "names.txt").write_text("".join(f"{label} of mine\n" for label in model.labels))
    printed = run("own_labels.sh", "b.sacvit", "names.txt", IMAGE, folder=tmp_path)
    assert f"{model.predict(IMAGE).label} of mine" in printed


def test_own_threshold(tmp_path: Path, model: SACViT) -> None:
    shutil.copytree(BUNDLE, tmp_path / "b.sacvit")
    for path in sorted(PICTURES.iterdir())[:12]:
        label = path.name.split("_")[1]
        assert label in model.labels
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "data" / label)
    printed = run("own_threshold.sh", "b.sacvit", "data", IMAGE, folder=tmp_path)
    eta = SACViT(tmp_path / "b.sacvit").eta
    assert eta != model.eta and f"eta {eta:g}" in printed


def test_notebook(model: SACViT, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNDLE", str(BUNDLE))
    monkeypatch.setenv("IMAGE", str(IMAGE))
    cells = json.loads((TASKS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        if cell["cell_type"] == "code":
            *before, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(before, []), "cell", "exec"), names)
            if isinstance(last, ast.Expr):
                shown.append(eval(compile(ast.Expression(last.value), "cell", "eval"), names))
            else:
                exec(compile(ast.Module([last], []), "cell", "exec"), names)
    labels, prediction, best, mask, timing = shown
    assert labels == model.labels[:5] and prediction.label == model.predict(IMAGE).label == best[0][0]
    assert mask.sum() == model.config.num_targets() and timing["ee"] > 0
