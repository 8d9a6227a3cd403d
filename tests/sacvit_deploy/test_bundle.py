"""Bundles, whole and damaged: nothing changed may be answered with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import BundleError, SACViT
from sacvit_deploy.bundle.bundle import MANIFEST, check_file, describe_file, open_bundle
from sacvit_deploy.bundle.find import VARIABLE, find_bundle
from sacvit_deploy.bundle.manifest import SCHEMA, FileEntry, Manifest, parse_manifest
from sacvit_deploy.bundle.write import whole_folder
from sacvit_deploy.errors import BackendError, ExportError
from sacvit_deploy.verification.golden import load_golden

Change = Callable[[Manifest], Manifest]
Edit = Callable[[Path, Change], None]

FILES = (
    "labels.txt",
    "golden.npz",
    "ee.fp32.onnx",
    "sac.fp32.onnx",
    "deit.fp32.onnx",
    "weights.fp32.bin",
    "view.fp32.onnx",
    "gather.fp32.onnx",
    "ee.fp16.onnx",
    "sac.fp16.onnx",
    "deit.fp16.onnx",
    "weights.fp16.bin",
    "view.fp16.onnx",
    "gather.fp16.onnx",
)


def open_all(bundle: Path) -> None:
    """Open every variant and check every file, as `sacvit verify` does before it runs anything."""
    opened = open_bundle(bundle)
    for entry in opened.entries():
        check_file(opened.path, entry)
    for precision in opened.manifest.variants:
        SACViT(bundle, precision=precision, threads=1)


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def forge(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest's JSON at will, with a digest that fits."""
    data = json.loads((bundle / MANIFEST).read_bytes())
    change(data)
    data["digest"] = "sha256:" + "0" * 64
    raw = (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
    digest = hashlib.sha256(raw).hexdigest().encode()
    (bundle / MANIFEST).write_bytes(raw.replace(b"0" * 64, digest, 1))


# --- whole


def test_a_whole_bundle(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    assert sorted(path.name for path in tiny_bundle.iterdir()) == sorted([MANIFEST, *FILES])
    assert sorted(entry.path for entry in opened.entries()) == sorted(FILES)
    assert opened.manifest.name == "tiny"
    assert list(opened.manifest.variants) == ["fp32", "fp16"]
    assert opened.labels == tuple(f"thing {number}" for number in range(10))
    assert set(opened.checked_files("fp16")) == {"ee", "sac", "deit", "weights", "view", "gather"}
    open_all(tiny_bundle)


def test_manifest_round_trip(tiny_bundle: Path) -> None:
    raw = (tiny_bundle / MANIFEST).read_bytes()
    manifest = parse_manifest(raw)
    assert manifest.to_bytes() == raw
    assert parse_manifest(manifest.to_bytes()) == manifest


def test_forging_helper_writes_what_the_library_reads(bundle_copy: Path) -> None:
    # The refusals below would prove nothing if it was the digest that was refused.
    forge(bundle_copy, lambda data: data.update(name="other"))
    assert open_bundle(bundle_copy).manifest.name == "other"


def test_a_moved_bundle_opens(bundle_copy: Path, tmp_path: Path) -> None:
    target = tmp_path / "déplacé par là" / "renamed.sacvit"
    shutil.copytree(bundle_copy, target)
    open_all(target)
    open_bundle(str(target))


# --- damage


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


def test_one_flipped_bit_anywhere_in_the_manifest(bundle_copy: Path) -> None:
    path = bundle_copy / MANIFEST
    raw = path.read_bytes()
    for at in range(0, len(raw), 23):
        flip(path, at)
        with pytest.raises(BundleError):
            open_bundle(bundle_copy)
        path.write_bytes(raw)
    open_bundle(bundle_copy)


def test_a_variant_opens_whatever_happened_to_the_other(bundle_copy: Path) -> None:
    flip(bundle_copy / "weights.fp16.bin", 100)
    SACViT(bundle_copy, precision="fp32", threads=1)
    with pytest.raises(BundleError, match=r"weights\.fp16\.bin was changed"):
        SACViT(bundle_copy, precision="fp16", threads=1)


@pytest.mark.parametrize("name", FILES)
def test_truncated_file(bundle_copy: Path, name: str) -> None:
    path = bundle_copy / name
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BundleError, match=r"has \d+ bytes instead of \d+; export the bundle again"):
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
    with pytest.raises(BackendError, match=r"can't load .*ee\.fp32\.onnx"):
        SACViT(bundle_copy, precision="fp32", threads=1)


def test_engine_that_is_no_onnx(bundle_copy: Path, rehash: Callable[[Path], None]) -> None:
    (bundle_copy / "ee.fp32.onnx").write_bytes(b"not an engine")
    rehash(bundle_copy)
    with pytest.raises(BackendError, match="can't load"):
        SACViT(bundle_copy, precision="fp32", threads=1)


# --- manifests that are none


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "no schema"),
        (b"7", "no schema"),
        (b"null", "no schema"),
        (b"{}", "no schema"),
        (b'{"schema": "1"}', "no schema"),
        (b'{"schema": 1}', "changed after the export"),
    ],
)
def test_manifest_that_is_none(bundle_copy: Path, content: bytes, message: str) -> None:
    (bundle_copy / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle_copy)


def test_manifest_without_end(bundle_copy: Path) -> None:
    os.truncate(bundle_copy / MANIFEST, 1 << 30)  # sparse; would take a gigabyte to read
    with pytest.raises(BundleError, match="larger than any manifest"):
        open_bundle(bundle_copy)


def test_newer_schema(bundle_copy: Path) -> None:
    def renew(data: dict[str, Any]) -> None:
        data["schema"] = SCHEMA + 1
        data["something"] = "new"

    forge(bundle_copy, renew)
    with pytest.raises(BundleError, match="newer sacvit-deploy"):
        open_bundle(bundle_copy)
    # Said even where nothing else in the file is understood.
    (bundle_copy / MANIFEST).write_text('{"schema": 99}')
    with pytest.raises(BundleError, match="schema 99"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "a/b.onnx", "..", ".", "", ".hidden", "a\\b", "a\nb", "nul\0", 7]
)
def test_file_names_that_reach_outside(bundle_copy: Path, path: Any) -> None:
    (bundle_copy.parent / "outside").write_bytes((bundle_copy / "labels.txt").read_bytes())

    def point(data: dict[str, Any]) -> None:
        data["labels"]["path"] = path

    forge(bundle_copy, point)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(bundle_copy)


def test_library_writes_no_such_name_either(tiny_bundle: Path) -> None:
    manifest = parse_manifest((tiny_bundle / MANIFEST).read_bytes())
    with pytest.raises(BundleError, match="plain name"):
        dataclasses.replace(manifest, labels=FileEntry("../labels.txt", "0" * 64, 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("labels"),
        lambda data: data.pop("variants"),
        lambda data: data.pop("geometry"),
        lambda data: data.pop("provenance"),
        lambda data: data["geometry"].update(width="wide"),
        lambda data: data["geometry"].update(depth=0),
        lambda data: data["method"].update(alpha=2),
        lambda data: data["method"].update(new_choice="x"),
        lambda data: data["preprocessing"].update(std=[0, 0, 0]),
        lambda data: data.update(method=None),
        lambda data: data.update(geometry=[1, 2]),
        lambda data: data.update(eta=None),
        lambda data: data.update(eta="high"),
        lambda data: data.update(eta=1.5),
        lambda data: data.update(eta=-0.1),
        lambda data: data.update(eta=float("nan")),
        lambda data: data.update(eta=10**400),
        lambda data: data.update(labels="labels.txt"),
        lambda data: data.update(variants=[]),
        lambda data: data["variants"].update(fp8=data["variants"]["fp16"]),
        lambda data: data["variants"]["fp32"]["files"].pop("sac"),
        lambda data: data["variants"]["fp32"].pop("files"),
        lambda data: data["labels"].update(sha256="0" * 63),
        lambda data: data["labels"].update(sha256=None),
        lambda data: data["labels"].update(owner="me"),
        lambda data: data["labels"].pop("bytes"),
    ],
)
def test_forged_manifest_with_wrong_content(bundle_copy: Path, change: Callable[[dict[str, Any]], None]) -> None:
    forge(bundle_copy, change)
    with pytest.raises(BundleError, match=r"manifest\.json|tiny\.sacvit"):
        open_bundle(bundle_copy)


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


# --- places that are no bundle


def test_places_that_are_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "file.sacvit").write_bytes(b"x")
    (tmp_path / "empty.sacvit").mkdir()
    cases = {"none.sacvit": "does not exist", "file.sacvit": "is a file", "empty.sacvit": "is not a bundle"}
    for name, message in cases.items():
        with pytest.raises(BundleError, match=message):
            SACViT(tmp_path / name)


def test_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "odd.sacvit" / MANIFEST).mkdir(parents=True)
    with pytest.raises(BundleError, match="can't read"):
        open_bundle(tmp_path / "odd.sacvit")


# --- finding


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """here/, album/pictures/ and elsewhere/, without bundles; here/ is the current folder."""
    for name in ("here", "album/pictures", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_nearest_bundle_is_found(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = places / "album" / "pictures" / "a.jpg"
    with pytest.raises(BundleError, match=r"no \*\.sacvit bundle.*--bundle.*SACVIT_BUNDLE"):
        find_bundle([picture])
    (places / "album" / "above.sacvit").mkdir()
    assert find_bundle([picture]) == places / "album" / "above.sacvit"
    (places / "album" / "pictures" / "beside.sacvit").mkdir()
    assert find_bundle([picture]) == places / "album" / "pictures" / "beside.sacvit"
    assert find_bundle([picture.parent]) == places / "album" / "pictures" / "beside.sacvit"
    (places / "here" / "current.sacvit").mkdir()
    assert find_bundle([picture]) == Path("current.sacvit")
    monkeypatch.setenv(VARIABLE, str(places / "elsewhere" / "named.sacvit"))
    assert find_bundle([picture]) == places / "elsewhere" / "named.sacvit"


def test_several_bundles_in_one_place(places: Path) -> None:
    for name in ("b.sacvit", "a.sacvit"):
        (places / "here" / name).mkdir()
    with pytest.raises(BundleError, match=r"several bundles \(a\.sacvit, b\.sacvit\); choose one with --bundle"):
        find_bundle()


def test_files_and_half_written_bundles_are_not_found(places: Path) -> None:
    (places / "here" / "file.sacvit").write_bytes(b"")
    (places / "here" / ".late.sacvit.partial-123").mkdir()
    with pytest.raises(BundleError, match="no "):
        find_bundle()


def test_model_without_a_name_finds_the_bundle(places: Path, tiny_bundle: Path) -> None:
    shutil.copytree(tiny_bundle, places / "here" / "tiny.sacvit")
    assert SACViT(threads=1).bundle.path == Path("tiny.sacvit")


# --- writing


def test_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.sacvit"
    with pytest.raises(ZeroDivisionError), whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("half")
        assert not target.exists()
        raise ZeroDivisionError
    assert list(target.parent.iterdir()) == []
    with whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("whole")
    assert (target / MANIFEST).read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_only_bundles_are_replaced_and_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "x.sacvit"
    with whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("old")
        (folder / "left over").write_text("old")
    with pytest.raises(ExportError, match="--force"), whole_folder(target, replace=False):
        pass
    with pytest.raises(ZeroDivisionError), whole_folder(target, replace=True):
        raise ZeroDivisionError
    assert (target / MANIFEST).read_text() == "old"
    with whole_folder(target, replace=True) as folder:
        (folder / MANIFEST).write_text("new")
    assert [path.name for path in target.iterdir()] == [MANIFEST]
    assert (target / MANIFEST).read_text() == "new"
    for other in (tmp_path / "papers", tmp_path / "file"):
        (other.mkdir if other.name == "papers" else other.touch)()
        with pytest.raises(ExportError, match="not a bundle"), whole_folder(other, replace=True):
            pass
        assert other.exists()


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "x.sacvit"
    dead = tmp_path / ".x.sacvit.partial-999999999"
    living = tmp_path / f".x.sacvit.partial-{os.getppid()}"
    for folder in (dead, living):
        folder.mkdir()
    with whole_folder(target, replace=False) as folder:
        (folder / MANIFEST).write_text("whole")
    assert not dead.exists()
    assert living.exists()


def test_target_under_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="can't write"), whole_folder(tmp_path / "file" / "x.sacvit", replace=False):
        pass


def test_golden_vectors_travel_in_the_bundle(tiny_bundle: Path) -> None:
    golden = load_golden(tiny_bundle / "golden.npz")
    assert golden.kinds == ("random", "random", "real", "real")
    assert golden.images.shape == (4, 224, 224, 3)
