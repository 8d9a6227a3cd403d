"""`sacvit eval`, `sweep` and `overlay-sheet` as processes of their own, without torch."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.manifest import Manifest
from sacvit_deploy.commands.group import load_command
from sacvit_deploy.errors import UsageError


def assert_one_line(error: str, *words: str) -> None:
    assert error.startswith("Error: "), error
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error


def test_eval_agrees_with_the_runtime(command: Any, tiny_bundle: Path, class_folder: Path, model: SACViT) -> None:
    paths = sorted(class_folder.rglob("*.png"))
    base = ("sacvit", "eval", tiny_bundle, "--data", class_folder)
    done = command(*base, "--precision", "fp32", "--threads", 1, "--batch", 8, "--json")
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert [row["eta"] for row in facts["rows"]] == [0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert [row["eta"] for row in facts["rows"] if row["default"]] == [0.6]
    for row in facts["rows"]:
        predictions = list(model.stream(paths, eta=row["eta"]))
        right = sum(
            isinstance(p, Prediction) and p.label == path.parent.name
            for p, path in zip(predictions, paths, strict=True)
        )
        assert row["top1"]["right"] == right and row["top1"]["count"] == 28
        assert row["continue_fraction"] == sum(isinstance(p, Prediction) and p.stage == 2 for p in predictions) / 28
        assert row["time_ratio"] > 0 and row["images_per_second"] > 0
    assert facts["only"]["ee"] == facts["rows"][0]["top1"]
    assert facts["only"]["sac"] == facts["rows"][-1]["top1"]
    assert facts["size_buckets"]["rows"] == []


def test_eval_finds_val_in_a_folder(command: Any, tiny_bundle: Path, class_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data/train/thing 1").mkdir(parents=True)
    shutil.copytree(class_folder, tmp_path / "data/val")
    base = ("sacvit", "eval", tiny_bundle, "--precision", "fp32", "--eta", "0.6", "--json")
    found, named = (
        json.loads(command(*base, "--data", folder).stdout) for folder in (tmp_path / "data", tmp_path / "data/val")
    )
    assert found["data"] == named["data"] == str(tmp_path / "data/val")
    assert found["only"] == named["only"] and found["pictures"] == 28


def test_eval_for_people(
    command: Any,
    bundle_copy: Path,
    scenes_folder: Path,
    edit_manifest: Callable[[Path, Callable[[Manifest], Manifest]], None],
) -> None:
    def without_baseline(manifest: Manifest) -> Manifest:
        variants = {
            name: dataclasses.replace(variant, files={k: v for k, v in variant.files.items() if k != "deit"})
            for name, variant in manifest.variants.items()
        }
        return dataclasses.replace(manifest, variants=variants)

    edit_manifest(bundle_copy, without_baseline)
    done = command("sacvit", "eval", bundle_copy, "--scenes", scenes_folder, "--eta", "0.7,0.6", "--limit", 20)
    out = done.stdout
    assert "20 scenes from" in out and "EE only" in out and "SAC only" in out
    assert "- not measured: the bundle's fp32 variant has no `deit` engine" in out
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines if line[:1] == [">"] and line[1] == "0.6"] == [[">", "0.6"]]
    assert any(line[:1] == ["0.7"] and line[-1] == "-" for line in lines)
    assert "at eta 0.7" in out and "90-151 px" in out


def test_skipped_images_and_classes_are_told(
    command: Any, tiny_bundle: Path, class_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(class_folder, folder)
    (next(folder.iterdir()) / "torn.jpg").write_bytes(b"\xff\xd8\xff")
    empty = next(f"thing {n}" for n in range(10) if not (folder / f"thing {n}").exists())
    (folder / empty).mkdir()
    done = command("sacvit", "eval", tiny_bundle, "--data", folder, "--eta", "0.5")
    assert f"Note: 1 class folder without images, skipped: {empty}" in done.stderr
    assert "Note: 1 unreadable image skipped" in done.stderr and "torn.jpg" in done.stderr
    for path in folder.rglob("*.png"):
        path.unlink()
    done = command("sacvit", "eval", tiny_bundle, "--data", folder, expect=1)
    assert_one_line(done.stderr, "none of the 1 images", "torn.jpg")


def test_sweep_chooses_and_writes(command: Any, bundle_copy: Path, class_folder: Path) -> None:
    base = ("sacvit", "sweep", bundle_copy, "--data", class_folder, "--alphas", "0.3,0.5")
    facts = json.loads(command(*base, "--target-accuracy", "0", "--write", "--out", "here", "--json").stdout)
    assert sorted(path.name for path in (command.cwd / "here").iterdir()) == ["sweep.html", "sweep.json", "sweep.png"]
    choice, manifest = facts["choice"], open_bundle(bundle_copy).manifest
    assert facts["written"] and (manifest.eta, manifest.config.method.alpha) == (choice["eta"], choice["alpha"])
    assert choice["top1"]["right"] >= facts["curves"]["0.5"][-1]["top1"]["right"]
    assert facts["curves"]["0.3"][0]["top1"] == facts["curves"]["0.5"][0]["top1"]  # eta 0 knows no alpha
    # The default written is what eval then finds.
    rows = json.loads(command("sacvit", "eval", bundle_copy, "--data", class_folder, "--json").stdout)["rows"]
    (row,) = [row for row in rows if row["default"]]
    assert row["top1"] == choice["top1"] and row["gmacs"] == pytest.approx(choice["gmacs"])


def test_sweep_out_of_reach_shows_what_it_measured(command: Any, tiny_bundle: Path, class_folder: Path) -> None:
    raw = (tiny_bundle / "manifest.json").read_bytes()
    done = command(
        "sacvit", "sweep", tiny_bundle, "--data", class_folder, "--alphas", "0.5", "--target-speedup", "99", expect=2
    )
    assert "Pareto front" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("Error: no eta needs 99 times fewer MACs")
    assert "the most is" in done.stderr
    assert (tiny_bundle / "manifest.json").read_bytes() == raw


def test_sweep_without_matplotlib(command: Any, tiny_bundle: Path, class_folder: Path) -> None:
    base = ("sacvit", "sweep", tiny_bundle, "--data", class_folder, "--alphas", "0.5", "--out", "x")
    done = command(*base, forbid=("matplotlib",))
    assert done.stderr.splitlines()[-1].startswith("Note: no sweep.png, and no chart in sweep.html: ")
    assert "pip install 'sacvit-deploy[plot]'" in done.stderr
    assert sorted(path.name for path in (command.cwd / "x").iterdir()) == ["sweep.html", "sweep.json"]
    assert "<table>" in (command.cwd / "x" / "sweep.html").read_text(encoding="utf-8")
    command.notes.unlink()


def test_overlay_sheet(command: Any, tiny_bundle: Path, scenes_folder: Path) -> None:
    base = ("sacvit", "overlay-sheet", tiny_bundle, "--scenes", scenes_folder, "--count", 6)
    facts = json.loads(command(*base, "--out", "a.png", "--json").stdout)
    assert len(facts["shown"]["exits"]) + len(facts["shown"]["continuing"]) == 6
    last = facts["coverage"][-1]
    assert last["group"] == "all" and last["pictures"] == facts["continued"]
    assert last["covered"]["random"] == pytest.approx(24 / 49)
    text = command(*base, "--out", "b.png").stdout
    assert "box covered by targets" in text and "wrote b.png" in text
    a, b = (Image.open(command.cwd / name) for name in ("a.png", "b.png"))
    assert a.tobytes() == b.tobytes()


def test_overlay_sheet_of_class_folders_and_one_sided(command: Any, tiny_bundle: Path, class_folder: Path) -> None:
    base = ("sacvit", "overlay-sheet", tiny_bundle, "--data", class_folder, "--eta", "1", "--limit", 8)
    done = command(*base, "--out", "new/sheet.jpg")
    assert "0 that exited, 8 that continued" in done.stdout and "box" not in done.stdout
    assert (command.cwd / "new/sheet.jpg").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval",), ("either --data FOLDER or --scenes FOLDER",)),
        (("eval", "--data", "DATA", "--scenes", "DATA"), ("either",)),
        (("eval", "--scenes", "DATA"), ("no scenes.json",)),
        (("eval", "--data", "DATA", "--eta", "0.5,1.5"), ("eta is 1.5",)),
        (("eval", "--data", "DATA", "--alpha", "1"), ("alpha",)),
        (("sweep", "--data", "DATA", "--alphas", "0.5,2"), ("alpha is 2",)),
        (("sweep", "--data", "DATA", "--write"), ("--target-accuracy",)),
        (("sweep", "--data", "DATA", "--target-accuracy", "1", "--target-speedup", "2"), ("not by both",)),
        (("overlay-sheet", "--data", "DATA", "--out", "sheet.txt"), (".png",)),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], words: tuple[str, ...], tiny_bundle: Path, class_folder: Path) -> None:
    name, *rest = (str(class_folder) if word == "DATA" else word for word in arguments)
    with pytest.raises(UsageError) as caught:
        load_command(name).main([str(tiny_bundle), *rest], standalone_mode=False)
    for word in words:
        assert word in str(caught.value)


def test_bad_usage_is_one_line_and_exit_code_2(command: Any, tiny_bundle: Path) -> None:
    assert_one_line(command("sacvit", "eval", tiny_bundle, expect=2).stderr, "either --data FOLDER or --scenes FOLDER")


def test_numbers_that_are_none(command: Any, tiny_bundle: Path, class_folder: Path) -> None:
    done = command("sacvit", "eval", tiny_bundle, "--data", class_folder, "--eta", "high", expect=2)
    assert "not a list of numbers" in done.stderr
