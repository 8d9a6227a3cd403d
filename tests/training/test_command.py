"""`sacvit train` as a subprocess: images to checkpoint to bundle of the same accuracy; resumed, in two processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.training.folder_set import split_files

pytestmark = pytest.mark.slow  # most of them train in a process of their own
SACVIT = (sys.executable, "-m", "sacvit_deploy")
KINDS = ("bar", "disc", "frame")
SMALL = ["--image-size", "96", "--width", "64", "--depth", "2", "--batch", "24", "--lr", "4e-3", "--average", "0.9"]
SMALL += ["--ee-loss", "ce", "--smoothing", "0", "--threads", "1", "--log-every", "5", "--no-amp"]
BUDGET = [*SMALL, "--steps", "40", "--stage-one", "40", "--dense", "0.5"]


def of_batch(size: int) -> list[str]:
    """SMALL with another batch size."""
    at = SMALL.index("--batch") + 1
    return [*SMALL[:at], str(size), *SMALL[at + 1 :]]


def draw(kind: str, rng: np.random.Generator) -> Image.Image:
    image = Image.fromarray(rng.integers(30, 90, (96, 96, 3), dtype=np.uint8))
    pen, r = ImageDraw.Draw(image), int(rng.integers(18, 28))
    x, y = (int(v) for v in rng.integers(r + 4, 92 - r, 2))
    if kind == "bar":
        pen.rectangle((x - r, y - 6, x + r, y + 6), fill=(250, 60, 60))
    elif kind == "disc":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(60, 250, 60))
    else:
        pen.rectangle((x - r, y - r, x + r, y + r), outline=(80, 80, 250), width=6)
    return image


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir()
        for number in range(32):
            draw(kind, rng).save(folder / kind / f"{number}.png")
    (folder / "disc" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    return folder


def train(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*(launcher or SACVIT[:1]), *SACVIT[1:], "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("run")
    result = train("--data", images, "--out", out, *BUDGET)
    assert result.returncode == 0, result.stderr
    return out, result.stdout + result.stderr


def test_it_learns_and_reports(finished: tuple[Path, str]) -> None:
    out, output = finished
    assert "of 3 classes" in output and "held out" in output
    assert output.count("broken.jpg") == 1 and "1 unreadable image was skipped" in output
    assert output.splitlines()[-1] == f"next: sacvit-export --ckpt {out / 'model.safetensors'}"
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[0]["loss"] > 1.0 and lines[7]["loss"] < 0.7 * lines[0]["loss"]
    assert lines[-1]["sac_accuracy"] > 0.85
    assert f"curves: {out / 'log.png'}" in output
    with Image.open(out / "log.png") as curves:
        assert min(curves.size) > 500


def test_the_bundle_agrees_with_the_trainers_own_accuracy(finished: tuple[Path, str], images: Path) -> None:
    out, _ = finished
    checkpoint = load_checkpoint(out / "model.safetensors")
    assert checkpoint.model.config.preprocessing == Preprocessing(resize_rounding="floor")
    provenance = checkpoint.provenance
    exported = subprocess.run(
        [*SACVIT, "export", "--ckpt", str(out / "model.safetensors"), "--force"], capture_output=True, text=True
    )
    assert exported.returncode == 0, exported.stderr
    model = SACViT(out / "model.sacvit")
    assert list(model.labels) == list(KINDS)
    assert model.config.preprocessing == checkpoint.model.config.preprocessing
    _, val = split_files(images, 0.1, seed=0)
    for eta, name in ((0.0, "held_ee"), (1.0, "held_sac")):
        answers = list(model.stream(val.paths, eta=eta))
        right = [a.index == t for a, t in zip(answers, val.targets, strict=True) if isinstance(a, Prediction)]
        assert len(right) == provenance["held_count"]
        assert np.mean(right) == pytest.approx(provenance[name])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_resumes_bit_for_bit(
    number: signal.Signals, images: Path, finished: tuple[Path, str], tmp_path: Path
) -> None:
    arguments = ["--data", images, *BUDGET]
    whole, broken = finished[0], tmp_path / "broken"
    with subprocess.Popen([*SACVIT, "train", *map(str, arguments), "--out", str(broken)]) as process:
        limit = time.monotonic() + 600
        while not (broken / "log.jsonl").exists() or not (broken / "log.jsonl").read_text():
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    result = train(*arguments, "--out", broken)
    assert result.returncode == 0, result.stderr
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in (whole, broken)]
    assert states[0]["progress"][:2] == states[1]["progress"][:2] == (1, 40)
    for part in ("model", "average"):
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())


def test_two_processes_take_the_steps_of_one(images: Path, tmp_path: Path) -> None:
    """Augmentation depends on the process, so only the number of steps must agree with a run of one process."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    arguments = ["--data", images, "--out", tmp_path, *SMALL, "--steps", 5, "--stage-one", 5]
    result = train(*arguments, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert "2 processes" in result.stdout and result.stdout.count("next: ") == 1
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["progress"][:2] == (1, 5)
    refused = train("--data", images, "--out", tmp_path / "odd", *of_batch(5), launcher=launcher)
    assert refused.returncode != 0 and "a batch of 5 can't be shared by 2 processes" in refused.stderr


def test_a_run_starts_from_weights_of_another_model(finished: tuple[Path, str], images: Path, tmp_path: Path) -> None:
    """Start from a DeiT with other classes: all weights but the classifier's are taken; the fusion starts fresh."""
    model = load_checkpoint(finished[0] / "model.safetensors").model
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("reuse_block")}
    weights["head.weight"], weights["head.bias"] = torch.zeros(7, 64), torch.zeros(7)
    torch.save({"model": weights}, tmp_path / "deit.pth")
    out = tmp_path / "run"
    result = train("--data", images, "--out", out, "--init", tmp_path / "deit.pth", *SMALL[6:], "--steps", 0)
    assert result.returncode == 0, result.stderr
    assert "these start fresh: head, reuse_block" in result.stdout
    began = load_checkpoint(out / "model.safetensors").model
    torch.testing.assert_close(began.state_dict()["blocks.0.attn.qkv.weight"], weights["blocks.0.attn.qkv.weight"])
    # At another size the position table is resampled; width and depth are the checkpoint's.
    larger = ["--image-size", 160, *SMALL[6:], "--steps", 0]
    result = train("--data", images, "--out", tmp_path / "larger", "--init", tmp_path / "deit.pth", *larger)
    assert result.returncode == 0, result.stderr
    assert load_checkpoint(tmp_path / "larger/model.safetensors").model.config.geometry.image_size == 160
    refused = train("--data", images, "--out", out, "--init", tmp_path / "deit.pth", *SMALL[6:], "--depth", 3)
    assert refused.returncode == 2 and "--depth 3: the checkpoint of --init has 2" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "run"], "give either --data FOLDER with images or --scenes"),
        (["--out", "run", "--data", "a", "--scenes", "b"], "give either --data"),
        (["--out", "run", "--data", "a", "--steps", "3", "--epochs", "1"], "give one of --epochs, --steps and"),
        (["--out", "run", "--data", "a", "--eta", "1.5"], "eta is 1.5"),
        (["--out", "run", "--data", "a", "--family", "deit"], "--family is for reading the checkpoint of --init"),
        (["--out", "run", "--data", "a", "--lr", "0"], "must be positive"),
        (["--out", "run", "--data", "nowhere"], "nowhere is not a folder"),
        (["--out", "run", "--scenes", "nowhere"], "holds no finished scenes"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], message: str) -> None:
    result = train(*arguments)
    assert result.returncode == 2
    assert message in result.stderr and result.stderr.count("\n") == 1


def test_wrong_method_fields_and_batches_are_refused(images: Path, tmp_path: Path) -> None:
    result = train("--data", images, "--out", tmp_path, *SMALL, "--method", "colour=red")
    assert result.returncode == 2 and "--method colour=red: write FIELD=VALUE" in result.stderr
    result = train("--data", images, "--out", tmp_path, *of_batch(100))
    assert result.returncode == 2 and "don't fill a batch of 100; choose a smaller --batch" in result.stderr
    result = train("--data", images, "--out", tmp_path, *SMALL, "--method", "class_token=sum")
    assert result.returncode == 2 and "class_token" in result.stderr
