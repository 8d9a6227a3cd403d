"""`sacvit-infer` as a process: answers, exit codes, and errors of one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy import Prediction, SACViT


def rows(out: str) -> list[list[str]]:
    """The table's rows, split into words, without its heading and summary."""
    lines = out.splitlines()
    assert lines[0].split() == ["image", "label", "prob", "stage", "ms"]
    return [line.split() for line in lines[1:-1]]


def assert_one_line(error: str, *words: str) -> None:
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


# --- answers


def test_one_image(command: Any, model: SACViT, tiny_bundle: Path, easy: Path, hard: Path) -> None:
    for image, stage in ((easy, ["1", "EE"]), (hard, ["2", "SAC"])):
        expected = model.predict(image, eta=0.6)
        done = command("sacvit-infer", image, "--eta", "0.6", "--bundle", tiny_bundle)
        (row,) = rows(done.stdout)
        assert row[1:4] == [*expected.label.split(), f"{expected.probability:.1%}"]
        assert row[4:6] == stage
        assert float(row[6]) > 0
        assert row[0].endswith(image.name)
        assert done.stdout.splitlines()[-1].startswith("1 image; ")
        assert "fp32 on ONNX Runtime" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names of files are text")
def test_names_that_are_no_text(command: Any, tiny_bundle: Path, easy: Path, tmp_path: Path) -> None:
    image = Path(shutil.copy(easy, tmp_path / os.fsdecode(b"gro\xdf.png")))
    done = command("sacvit-infer", image, "--bundle", tiny_bundle)
    assert rows(done.stdout)[0][0].endswith("gro\\udcdf.png")
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / os.fsdecode(b"gro\xdf.sacvit")))
    done = command("sacvit-infer", image, "--bundle", folder)
    assert rows(done.stdout)[0][0].endswith("gro\\udcdf.png")


def test_folder_with_good_and_bad_images_as_json(
    command: Any, model: SACViT, tiny_bundle: Path, image_paths: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in image_paths:
        shutil.copy(path, folder)
    (folder / "2b.jpg").write_bytes(image_paths[0].read_bytes()[:3000])
    (folder / "5b.PNG").write_text("no image")
    (folder / "notes.txt").write_text("not looked at")
    arguments = [folder, "--bundle", tiny_bundle, "--eta", "0.6", "--topk", "3", "--batch", "2", "--precision", "fp32"]
    done = command("sacvit-infer", *arguments, "--json", expect=1)
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.stderr == ""
    names = ["0.jpg", "1.jpg", "2.jpg", "2b.jpg", "3.jpg", "4.jpg", "5.jpg", "5b.PNG", "6.jpg"]
    assert [Path(entry["source"]).name for entry in entries] == names
    assert [entry["position"] for entry in entries] == list(range(9))
    for entry, expected in zip(entries, model.stream([folder / name for name in names], eta=0.6), strict=True):
        if not isinstance(expected, Prediction):
            assert entry == {"source": entry["source"], "position": expected.position, "error": str(expected)}
            continue
        facts = expected.to_dict(3)
        for key in ("source", "label", "index", "stage", "targets", "grid"):
            assert entry[key] == facts[key]
        assert entry["probability"] == pytest.approx(facts["probability"], abs=1e-5)
        assert [top["label"] for top in entry["topk"]] == [top["label"] for top in facts["topk"]]
        assert set(entry["timing_ms"]) == set(facts["timing_ms"])
    # As text: answers on stdout, failures on stderr, a line each.
    done = command("sacvit-infer", *arguments, expect=1)
    assert len(rows(done.stdout)) == 7 * 3
    assert [line.startswith("Error: ") for line in done.stderr.splitlines()] == [False, True, True]
    assert done.stdout.splitlines()[-1].startswith("9 images; 2 failed; ")


def test_topk_prints_the_ranks(command: Any, model: SACViT, tiny_bundle: Path, hard: Path) -> None:
    done = command("sacvit-infer", hard, "--bundle", tiny_bundle, "--topk", "99", "--eta", "1")
    top = model.predict(hard, eta=1.0).topk(10)
    shown = rows(done.stdout)
    assert [f"thing {row[row.index('thing') + 1]}" for row in shown] == [label for label, _ in top]
    assert [row[row.index("thing") + 2] for row in shown] == [f"{probability:.1%}" for _, probability in top]


def test_odd_images_are_answered_in_silence(command: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    image.save(tmp_path / "exif.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[image])
    image.save(tmp_path / "name with spaces & ünïcode [1].webp")
    done = command("sacvit-infer", tmp_path, "--bundle", tiny_bundle, "--json")
    assert len(done.stdout.splitlines()) == 5
    assert done.stderr == ""


# --- which images


def test_glob_and_repeats(command: Any, tiny_bundle: Path, pictures: Path) -> None:
    done = command("sacvit-infer", f"{pictures}/[01].jpg", pictures / "0.jpg", "--bundle", tiny_bundle, "--json")
    names = [Path(json.loads(line)["source"]).name for line in done.stdout.splitlines()]
    assert names == ["0.jpg", "1.jpg", "0.jpg"]


# --- which bundle


def test_bundle_is_found_in_the_order_promised(command: Any, tiny_bundle: Path, easy: Path, tmp_path: Path) -> None:
    album = tmp_path / "album" / "pictures"
    album.mkdir(parents=True)
    image = Path(shutil.copy(easy, album))
    done = command("sacvit-infer", image, expect=1)
    assert_one_line(done.stderr, "--bundle", "SACVIT_BUNDLE")
    shutil.copytree(tiny_bundle, album.parent / "above.sacvit")
    assert "above.sacvit: fp32" in command("sacvit-infer", image).stderr
    (command.cwd / "here.sacvit").symlink_to(tiny_bundle, target_is_directory=True)
    assert command("sacvit-infer", image).stderr.startswith("here.sacvit: ")
    done = command("sacvit-infer", image, env={"SACVIT_BUNDLE": str(tiny_bundle)})
    assert done.stderr.startswith(f"{tiny_bundle}: ")
    (command.cwd / "second.sacvit").symlink_to(tiny_bundle, target_is_directory=True)
    done = command("sacvit-infer", image, expect=1)
    assert_one_line(done.stderr, "several bundles", "here.sacvit, second.sacvit", "--bundle")


# --- overlays


def background_and_targets(path: Path, targets: list[int] | None) -> tuple[list[float], list[float]]:
    """Mean brightness of the drawn cells, relative to the undarkened image's."""
    cells = np.asarray(Image.open(path).convert("L").crop((0, 0, 448, 448))).astype(float).reshape(7, 64, 7, 64)
    inner = cells[:, 8:-8, :, 8:-8].mean(axis=(1, 3)).ravel()
    mask = np.isin(np.arange(49), targets or [])
    return inner[~mask].tolist(), inner[mask].tolist()


def test_overlay_of_one_image(command: Any, model: SACViT, tiny_bundle: Path, tmp_path: Path) -> None:
    image, drawn = tmp_path / "grey.png", tmp_path / "new" / "drawn.png"
    Image.new("RGB", (300, 300), (200, 200, 200)).save(image)
    done = command("sacvit-infer", image, "--eta", "1", "--bundle", tiny_bundle, "--overlay", drawn)
    assert f"saved: {drawn}" in done.stdout
    targets = model.predict(image, eta=1.0).targets
    assert targets is not None
    background, chosen = background_and_targets(drawn, targets.tolist())
    assert (len(background), len(chosen)) == (25, 24)
    assert chosen == pytest.approx([200] * 24, abs=1)
    assert background == pytest.approx([70] * 25, abs=1)


def test_overlay_folder(command: Any, model: SACViT, tiny_bundle: Path, easy: Path, hard: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    options = ["--eta", "0.6", "--bundle", tiny_bundle, "--overlay", tmp_path / "drawn"]
    done = command("sacvit-infer", easy, bad, hard, *options, expect=1)
    assert f"saved: {tmp_path / 'drawn'}" in done.stdout
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == sorted(
        [f"{easy.stem}.png", f"{hard.stem}.png"]
    )
    for path in (easy, hard):
        prediction = model.predict(path, eta=0.6)
        pixels = model.prepare(path).pixels
        assert pixels is not None
        plain = np.asarray(Image.fromarray(pixels).convert("L")).reshape(7, 32, 7, 32)[:, 4:-4, :, 4:-4]
        mask = np.zeros(49, dtype=bool) if prediction.targets is None else np.isin(np.arange(49), prediction.targets)
        cells = np.asarray(Image.open(tmp_path / "drawn" / f"{path.stem}.png").convert("L").crop((0, 0, 448, 448)))
        shown = cells.reshape(7, 64, 7, 64)[:, 8:-8, :, 8:-8].mean(axis=(1, 3)).ravel()
        expected = plain.mean(axis=(1, 3)).ravel() * np.where(mask | (prediction.stage == 1), 1.0, 0.35)
        np.testing.assert_allclose(shown, expected, atol=6)


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--eta", "1.5"], 2, ["eta is 1.5"]),
        (["--eta", "nan"], 2, ["eta is nan"]),
        (["--alpha", "0"], 2, ["alpha is 0"]),
        (["--precision", "int8"], 1, ["no int8 variant", "fp32, fp16"]),
        (["--device", "nonsense"], 1, ["no provider nonsense"]),
        (["--overlay", "cluster.txt"], 2, ["cluster.txt", ".png"]),
    ],
)
def test_refusals_are_one_line(
    command: Any, tiny_bundle: Path, easy: Path, arguments: list[str], code: int, words: list[str]
) -> None:
    done = command("sacvit-infer", easy, "--bundle", tiny_bundle, "--json", *arguments, expect=code)
    assert done.stdout == ""
    assert_one_line(done.stderr, *words)


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["--threads", "0"], ["--batch", "0"], ["--eta", "high"]])
def test_bad_usage_exits_with_two(command: Any, tiny_bundle: Path, easy: Path, arguments: list[str]) -> None:
    done = command("sacvit-infer", easy, "--bundle", tiny_bundle, *arguments, expect=2)
    assert done.stdout == ""
    assert arguments[0] in done.stderr


def test_no_image_at_all(command: Any) -> None:
    assert "SOURCE" in command("sacvit-infer", expect=2).stderr


def test_nothing_matches(command: Any, tiny_bundle: Path, tmp_path: Path) -> None:
    done = command("sacvit-infer", f"{tmp_path}/*.jpg", "--bundle", tiny_bundle, expect=2)
    assert_one_line(done.stderr, "nothing matches")


def test_missing_bundle_and_missing_image(command: Any, tiny_bundle: Path, easy: Path) -> None:
    done = command("sacvit-infer", easy, "--bundle", "none.sacvit", expect=1)
    assert_one_line(done.stderr, "none.sacvit does not exist")
    done = command("sacvit-infer", "none.jpg", "--bundle", tiny_bundle, "--json", expect=1)
    assert json.loads(done.stdout) == {"source": "none.jpg", "position": 0, "error": "none.jpg does not exist"}


def test_damaged_bundle(command: Any, bundle_copy: Path, easy: Path) -> None:
    path = bundle_copy / "weights.fp32.bin"
    raw = bytearray(path.read_bytes())
    raw[1000] ^= 1
    path.write_bytes(raw)
    done = command("sacvit-infer", easy, "--bundle", bundle_copy, expect=1)
    assert_one_line(done.stderr, "weights.fp32.bin was changed")
    assert done.stdout == ""


# --- ends


def start_long(command: Any, tiny_bundle: Path, easy: Path) -> subprocess.Popen[str]:
    """A run of a thousand images that has printed its first answer."""
    process: subprocess.Popen[str] = command.start(
        "sacvit-infer", *[easy] * 1000, "--bundle", tiny_bundle, "--batch", "1", "--json"
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["stage"] == 1
    return process


def test_closed_pipe_ends_quietly(command: Any, tiny_bundle: Path, easy: Path) -> None:
    process = start_long(command, tiny_bundle, easy)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # as `head -1` does
    assert process.wait(timeout=300) == 0
    assert process.stderr.read() == ""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_it_without_a_traceback(
    command: Any, tiny_bundle: Path, easy: Path, signum: signal.Signals, code: int
) -> None:
    process = start_long(command, tiny_bundle, easy)
    process.send_signal(signum)
    _, error = process.communicate(timeout=300)
    assert process.returncode == code
    assert "Traceback" not in error
