"""Bundles, whole and damaged: a changed file is never used."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import BundleError, SACViT
from sacvit_deploy.bundle.bundle import MANIFEST, describe_file, open_bundle
from sacvit_deploy.bundle.manifest import Manifest
from sacvit_deploy.errors import BackendError
from sacvit_deploy.verification.golden import load_golden

from .making import FILES, flip, forge, open_all

Change = Callable[[Manifest], Manifest]
Edit = Callable[[Path, Change], None]


def test_a_whole_bundle(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    assert sorted(path.name for path in tiny_bundle.iterdir()) == sorted([MANIFEST, *FILES])
    assert sorted(entry.path for entry in opened.entries()) == sorted(FILES)
    assert opened.manifest.name == "tiny"
    assert list(opened.manifest.variants) == ["fp32", "fp16"]
    assert opened.labels == tuple(f"thing {number}" for number in range(10))
    assert set(opened.checked_files("fp16")) == {"ee", "sac", "deit", "weights", "view", "gather"}
    open_all(tiny_bundle)


def test_a_moved_bundle_opens(bundle_copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "déplacé par là" / "renamed.sacvit"
    shutil.copytree(bundle_copy, target)
    open_all(target)
    open_bundle(str(target))


def test_golden_vectors_travel_in_the_bundle(tiny_bundle: Path) -> None:
    golden = load_golden(tiny_bundle / "golden.npz", open_bundle(tiny_bundle).manifest.config)
    assert golden.kinds == ("random", "random", "real", "real")
    assert golden.images.shape == (4, 224, 224, 3)


# --- damaged files


@pytest.mark.parametrize("name", [MANIFEST, *FILES])
def test_missing_file(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    with pytest.raises(BundleError, match="missing|has no"):
        open_all(bundle_copy)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_flipped_bit(bundle_copy: Path, name: str, place: str) -> None:
    path = bundle_copy / name
    flip(path, {"first": 0, "middle": path.stat().st_size // 2, "last": -1}[place])
    with pytest.raises(BundleError, match=f"{name} was changed"):
        open_all(bundle_copy)


def test_a_variant_opens_whatever_happened_to_the_other(bundle_copy: Path) -> None:
    flip(bundle_copy / "weights.fp16.bin", 100)
    SACViT(bundle_copy, precision="fp32", threads=1)
    with pytest.raises(BundleError, match=r"weights\.fp16\.bin was changed"):
        SACViT(bundle_copy, precision="fp16", threads=1)


@pytest.mark.parametrize("name", FILES)
def test_truncated_file(bundle_copy: Path, name: str) -> None:
    path = bundle_copy / name
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BundleError, match=r"has \d+ bytes instead of \d+; (export the bundle again|give the classes)"):
        open_all(bundle_copy)


@pytest.mark.parametrize("name", FILES)
def test_folder_in_place_of_a_file(bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    (bundle_copy / name).mkdir()
    with pytest.raises(BundleError, match=name):
        open_all(bundle_copy)


def test_swapped_engines(bundle_copy: Path) -> None:
    ee, sac, aside = bundle_copy / "ee.fp32.onnx", bundle_copy / "sac.fp32.onnx", bundle_copy / "aside"
    ee.rename(aside)
    sac.rename(ee)
    aside.rename(sac)
    with pytest.raises(BundleError, match=r"ee\.fp32\.onnx"):
        SACViT(bundle_copy, threads=1)


def test_engines_swapped_in_the_manifest(bundle_copy: Path, easy: Path) -> None:
    def swap(data: dict[str, Any]) -> None:
        files = data["variants"]["fp32"]["files"]
        files["ee"], files["sac"] = files["sac"], files["ee"]

    forge(bundle_copy, swap)
    with pytest.raises((BundleError, BackendError), match=r"sac\.fp32\.onnx"):
        SACViT(bundle_copy, precision="fp32", threads=1).predict(easy)


def test_weights_of_the_other_precision(bundle_copy: Path, rehash: Callable[[Path], None]) -> None:
    shutil.copyfile(bundle_copy / "weights.fp16.bin", bundle_copy / "weights.fp32.bin")
    rehash(bundle_copy)
    with pytest.raises(BundleError, match=r"ee\.fp32\.onnx reads .* from outside weights\.fp32\.bin"):
        SACViT(bundle_copy, precision="fp32", threads=1)


def test_engine_that_is_no_onnx(bundle_copy: Path, rehash: Callable[[Path], None]) -> None:
    (bundle_copy / "ee.fp32.onnx").write_bytes(b"not an engine")
    rehash(bundle_copy)
    with pytest.raises(BundleError, match=r"ee\.fp32\.onnx is no ONNX file"):
        SACViT(bundle_copy, precision="fp32", threads=1)
    (bundle_copy / "ee.fp32.onnx").write_bytes(b"")
    rehash(bundle_copy)
    with pytest.raises(BackendError, match=r"can't load .*ee\.fp32\.onnx"):
        SACViT(bundle_copy, precision="fp32", threads=1)


# --- labels


@pytest.mark.parametrize("labels", ["one\ntwo\n", "x\n" * 11, ""])
def test_labels_that_do_not_fit(bundle_copy: Path, rehash: Any, edit_manifest: Edit, labels: str) -> None:
    (bundle_copy / "labels.txt").write_text(labels)
    edit_manifest(bundle_copy, lambda m: dataclasses.replace(m, labels=describe_file(bundle_copy / "labels.txt")))
    with pytest.raises(BundleError, match="labels for 10 classes"):
        open_bundle(bundle_copy)


def test_labels_that_are_no_text(bundle_copy: Path, edit_manifest: Edit) -> None:
    (bundle_copy / "labels.txt").write_bytes(b"\xff\n" * 10)
    edit_manifest(bundle_copy, lambda m: dataclasses.replace(m, labels=describe_file(bundle_copy / "labels.txt")))
    with pytest.raises(BundleError, match="UTF-8"):
        open_bundle(bundle_copy)


def test_labels_in_other_scripts(bundle_copy: Path, edit_manifest: Edit, easy: Path) -> None:
    labels = ["Kätzchen", "犬", "ёж", "🦆", "a b", "x,y", '"q"', "ı", "é", "ω"]
    (bundle_copy / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    edit_manifest(bundle_copy, lambda m: dataclasses.replace(m, labels=describe_file(bundle_copy / "labels.txt")))
    assert SACViT(bundle_copy, threads=1).predict(easy).label in labels
    assert open_bundle(bundle_copy).labels == tuple(labels)


# --- not a bundle


def test_places_that_are_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file.sacvit").write_bytes(b"x")
    (tmp_path / "empty.sacvit").mkdir()
    cases = {"none.sacvit": "does not exist", "file.sacvit": "is a file", "empty.sacvit": "is not a bundle"}
    for name, message in cases.items():
        with pytest.raises(BundleError, match=message):
            SACViT(tmp_path / name)


def test_places_that_nobody_can_look_at(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="can't read .*: File name too long"):
        SACViT(tmp_path / f"{'x' * 300}.sacvit")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may look anywhere")
def test_a_place_that_is_locked(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(BundleError, match="can't read .*: Permission denied"):
            SACViT(tmp_path / "deeper" / "none.sacvit")
    finally:
        tmp_path.chmod(0o700)
