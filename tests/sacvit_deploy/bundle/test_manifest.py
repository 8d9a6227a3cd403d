"""manifest.json: read back as written, and refused when changed, forged, newer or no manifest at all."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import BundleError
from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from sacvit_deploy.bundle.manifest import SCHEMA, FileEntry, read_manifest

from .making import flip, forge


def test_manifest_round_trip(tiny_bundle: Path) -> None:
    manifest = read_manifest(tiny_bundle / MANIFEST)
    assert manifest.to_bytes() == (tiny_bundle / MANIFEST).read_bytes()


def test_forging_helper_writes_what_the_library_reads(bundle_copy: Path) -> None:
    # The refusals below would prove nothing if it was the digest that was refused.
    forge(bundle_copy, lambda data: data.update(name="other"))
    assert open_bundle(bundle_copy).manifest.name == "other"


def test_one_flipped_bit_anywhere_in_the_manifest(bundle_copy: Path) -> None:
    path = bundle_copy / MANIFEST
    raw = path.read_bytes()
    for at in range(0, len(raw), 23):
        flip(path, at)
        with pytest.raises(BundleError):
            open_bundle(bundle_copy)
        path.write_bytes(raw)
    open_bundle(bundle_copy)


def test_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "odd.sacvit" / MANIFEST).mkdir(parents=True)
    with pytest.raises(BundleError, match="can't read"):
        open_bundle(tmp_path / "odd.sacvit")


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
        (b'{"schema": 1}', "changed after it was written"),
    ],
)
def test_manifest_that_is_none(bundle_copy: Path, content: bytes, message: str) -> None:
    (bundle_copy / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle_copy)


def test_manifest_without_end(bundle_copy: Path) -> None:
    os.truncate(bundle_copy / MANIFEST, 1 << 30)  # sparse; would take a gigabyte to read
    with pytest.raises(BundleError, match="more than 16,777,216 bytes"):
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
    manifest = read_manifest(tiny_bundle / MANIFEST)
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
