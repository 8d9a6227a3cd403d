"""`sacvit calibrate` with calibration images that are few, unlabelled, damaged or useless."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.weights import write_engines
from sacvit_deploy.errors import BundleError, OutputError, UsageError
from sacvit_deploy.evaluation.labelled_images import UNKNOWN
from sacvit_deploy.evaluation.open_images import open_unlabelled, prepare_image

from .making import ROLES, calibrate, snapshot

NO = ("torch",)  # what the command must not ask for


def test_unlabelled_images_give_agreement(bundle_copy: Path, pictures: Path) -> None:
    output = calibrate(bundle_copy, "--calib", pictures)
    name = f"images from {pictures.name}/, the calibration's among them"
    assert f"note: {name} have no labels; agreement with fp32 is reported, not accuracy" in output
    assert "note: only 7 calibration images; ranges from fewer than 16 are a matter of chance" in output
    assert f"judged on 7 {name}" in output and output.count("no labels  ") == 9 and "largest loss" not in output
    report = open_bundle(bundle_copy).variant("int8").report
    assert report["top1"] is None and report["drop"] is None
    assert 0.5 < report["agreement"]["sac"] <= 1 and report["calibration"]["pictures"] == 7


def test_help_needs_no_libraries(command: Any) -> None:
    assert "--max-drop" in command("sacvit", "calibrate", "--help").stdout


def test_a_limit_needs_labels(command: Any, bundle_copy: Path, pictures: Path, eval_set: Path, tmp_path: Path) -> None:
    before = snapshot(bundle_copy)
    done = command("sacvit", "calibrate", bundle_copy, "--calib", pictures, "--max-drop", 0.5, expect=2, forbid=NO)
    assert done.stderr.startswith("Error: --max-drop needs labelled images to judge on, and images from ")
    assert done.stderr.endswith("have no labels\n") and snapshot(bundle_copy) == before
    with pytest.raises(UsageError, match="--max-drop needs labelled images"):
        calibrate(bundle_copy, "--calib", eval_set, "--judge", pictures, "--max-drop", 0.5)
    shutil.copytree(pictures, tmp_path / "images" / "cats")
    with pytest.raises(UsageError, match=r"have no labels: .*images has 1 folder named after no class .*: cats; "):
        calibrate(bundle_copy, "--calib", tmp_path / "images", "--max-drop", 0.5)
    # With others to judge on, those to calibrate with need none.
    output = calibrate(bundle_copy, "--calib", pictures, "--judge", eval_set, "--max-drop", 50)
    assert f"judged on 96 scenes from {eval_set.name}/\n" in output and "int8: largest loss" in output


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None, lambda path: path.write_text("a file")])
def test_a_folder_without_images(
    bundle_copy: Path, pictures: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "none")
    before = snapshot(bundle_copy)
    for options in (("--calib", tmp_path / "none"), ("--calib", pictures, "--judge", tmp_path / "none")):
        with pytest.raises(UsageError, match=r"none( holds no images|: No such file|: Not a directory)"):
            calibrate(bundle_copy, *options)
    assert snapshot(bundle_copy) == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_empty_class_folders(command: Any, bundle_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "thing 1").mkdir(parents=True)
    done = command("sacvit", "calibrate", bundle_copy, "--calib", tmp_path / "data", expect=2, forbid=NO)
    assert "no images in its 1 class folder " in done.stderr


def test_an_unreadable_image_is_named_and_counted(bundle_copy: Path, class_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(class_folder, tmp_path / "data"))
    torn = next(folder.iterdir()) / "torn.jpg"
    torn.write_bytes(b"\xff\xd8\xff")
    output = calibrate(bundle_copy, "--calib", folder, "--max-drop", 60)
    assert "note: 1 of 29 calibration images can't be read, such as: " in output
    assert "note: 1 of the 29 images to judge on can't be read, such as: " in output
    assert output.count("torn.jpg") == 2 and "judged on 28 images from data/" in output
    report = open_bundle(bundle_copy).variant("int8").report
    assert report["calibration"]["pictures"] == 28 and report["top1"]["ee"]["count"] == 28
    assert "classes have no folder in" in output


def test_nobody_continues(bundle_copy: Path, pictures: Path) -> None:
    output = calibrate(bundle_copy, "--calib", pictures, "--eta", 0)
    assert "note: no calibration image continues at eta 0; stage 2 is calibrated with all of them (eta 1)" in output
    assert open_bundle(bundle_copy).variant("int8").report["calibration"]["continued"] == 7


def test_only_so_many_images_are_taken(bundle_copy: Path, class_folder: Path) -> None:
    output = calibrate(bundle_copy, "--calib", class_folder, "--pictures", 17, "--max-drop", 100)
    assert "17 calibration images" in output and "matter of chance" not in output and "judged on 28 images" in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--eta", 1.5), "eta is 1.5; it must lie between 0 and 1"),
        (("--alphas", "0.5,1"), "alpha"),
        (("--alphas", "0.001"), "alpha"),
    ],
)
def test_values_out_of_range(bundle_copy: Path, pictures: Path, options: tuple[object, ...], words: str) -> None:
    before = snapshot(bundle_copy)
    with pytest.raises(UsageError, match=words):
        calibrate(bundle_copy, "--calib", pictures, *options)
    assert snapshot(bundle_copy) == before


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(
    bundle_copy: Path, pictures: Path, rehash: Callable[[Path], None], value: float
) -> None:
    models = {role: onnx.load(str(bundle_copy / f"{role}.fp32.onnx")) for role in ROLES}
    for tensor in models["sac"].graph.initializer:
        if tensor.name == "reuse_block.1.fc1.weight.T":
            weight = numpy_helper.to_array(tensor).copy()
            weight[3, 5] = value
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
    write_engines(bundle_copy, {role: ir.serde.deserialize_model(model) for role, model in models.items()}, "fp32")
    rehash(bundle_copy)
    before = snapshot(bundle_copy)
    with pytest.raises(OutputError, match=r"layer reuse_block\.1\.fc2 is NaN or infinite on a calibration image"):
        calibrate(bundle_copy, "--calib", pictures, "--smoothing", 0)
    assert snapshot(bundle_copy) == before


def test_a_damaged_bundle_is_not_calibrated(bundle_copy: Path, pictures: Path) -> None:
    path = bundle_copy / "ee.fp16.onnx"
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(BundleError, match=r"ee\.fp16\.onnx was changed"):
        calibrate(bundle_copy, "--calib", pictures)
    path.unlink()
    with pytest.raises(BundleError, match=r"ee\.fp16\.onnx is missing"):
        calibrate(bundle_copy, "--calib", pictures)


def test_an_unlabelled_folder_is_read_with_all_in_it(model: SACViT, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for number, path in enumerate(sorted(pictures.iterdir())):
        shutil.copy(path, tmp_path / ("deep/er" if number % 2 else ".") / f"{number}{path.suffix.upper()}")
    (tmp_path / "notes.txt").write_text("no image")
    images = open_unlabelled(tmp_path, lambda path: prepare_image(model, path))
    assert len(images) == 7 and (images.labels == UNKNOWN).all() and not images.labelled
    assert [Path(name).name for name in images.names] == [Path(name).name for name in sorted(images.names)]
    for row, name in enumerate(images.names):
        assert np.array_equal(images.load(row), prepare_image(model, pictures / Path(name).name.lower()))
    assert not images.pick(np.array([2, 0])).labelled and images.kind == "images"
