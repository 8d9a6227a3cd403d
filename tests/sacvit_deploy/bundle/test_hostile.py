"""Bundles whose maker knows how to compute a digest: one sentence, and no traceback, hang or memory without bounds."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import MANIFEST, check_file, hash_file, open_bundle
from sacvit_deploy.commands.inspect import command as inspect
from sacvit_deploy.errors import BackendError, BundleError
from tests.data import record

from .making import forge

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A copy of the recorded bundle, to be forged."""
    return Path(shutil.copytree(record.BEFORE, tmp_path / "forged.sacvit"))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def in_report(**facts: Any) -> Edit:
    return lambda data: data["variants"]["fp16"]["report"].update(facts)


REFUSED: dict[str, Edit] = {
    "name is a number": lambda data: data.update(name=7),
    "name is NUL": lambda data: data.update(name="a\0b"),
    "eta is true": lambda data: data.update(eta=True),
    "eta is a text": lambda data: data.update(eta="0.5"),
    "eta of a variant is true": lambda data: data["variants"]["fp16"].update(eta=True),
    "bytes are a fraction": lambda data: data["labels"].update(bytes=80.0),
    "bytes are true": lambda data: data["labels"].update(bytes=True),
    "bytes are negative": lambda data: data["labels"].update(bytes=-1),
    "path is a list": lambda data: data["labels"].update(path=["labels.txt"]),
    "path is long": lambda data: data["labels"].update(path="a" * 300),
    "size is huge": lambda data: data["geometry"].update(image_size=2**40),
    "size is above the limit": lambda data: data["geometry"].update(image_size=16384),
    "too many tokens": lambda data: data["geometry"].update(image_size=8192, patch_size=2),
    "depth is huge": lambda data: data["geometry"].update(depth=10**7),
    "width is huge": lambda data: data["geometry"].update(width=2**30),
    "classes are huge": lambda data: data["geometry"].update(classes=2**40),
    "mlp is huge": lambda data: data["geometry"].update(mlp_ratio=1e299),
    "size is a fraction": lambda data: data["geometry"].update(image_size=64.0),
    "std is tiny": lambda data: data["preprocessing"].update(std=[1e-12, 0.2, 0.2]),
    "std is huge": lambda data: data["preprocessing"].update(std=[1e12, 0.2, 0.2]),
    "mean is huge": lambda data: data["preprocessing"].update(mean=[-1e12, 0.2, 0.2]),
    "mean of texts": lambda data: data["preprocessing"].update(mean=["0.1", 0.2, 0.2]),
    "crop is true": lambda data: data["preprocessing"].update(crop=True),
    "NaN": lambda data: data["provenance"].update(training=float("nan")),
    "infinity": lambda data: data["provenance"].update(training=float("inf")),
    "an integer without end": lambda data: data["provenance"].update(training=10**400),
    "levels without end": lambda data: data["provenance"].update(training=nested(200)),
    "notes are a number": lambda data: data["provenance"].update(notes=5),
    "a note is an object": lambda data: data["provenance"].update(notes=[{}]),
    "checkpoint is a list": lambda data: data["provenance"].update(checkpoint=[1]),
    "provenance is a list": lambda data: data.update(provenance=[]),
    "parity is a list": lambda data: data["variants"]["fp32"].update(parity=[1]),
    "parity is half": lambda data: data["variants"]["fp32"]["parity"].pop("cases"),
    "error is a text": lambda data: data["variants"]["fp32"]["parity"].update(largest_error="small"),
    "report is a text": lambda data: data["variants"]["fp16"].update(report="good"),
    "drop is a text": in_report(drop="none"),
    "agreement is empty": in_report(agreement={}),
    "calibration is half": in_report(calibration={"ranges": "minmax"}),
    "files are a text": lambda data: data["variants"]["fp32"].update(files="all"),
    "a file is a text": lambda data: data["variants"]["fp32"]["files"].update(ee="ee.fp32.onnx"),
    "a variant is null": lambda data: data["variants"].update(fp32=None),
    "variants are a text": lambda data: data.update(variants="fp32"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_forged_manifests_are_refused(bundle: Path, name: str) -> None:
    forge(bundle, REFUSED[name])
    with pytest.raises(BundleError, match=r"manifest\.json") as refusal:
        open_bundle(bundle)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500


def test_a_key_that_occurs_twice(bundle: Path) -> None:
    raw = (bundle / MANIFEST).read_text()
    (bundle / MANIFEST).write_text(raw.replace('"name": "tiny",', '"name": "tiny",\n "name": "other",'))
    with pytest.raises(BundleError, match="'name' occurs more than once"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.update(provenance={}),
        lambda data: data["variants"]["fp32"].pop("parity"),
        lambda data: data["provenance"].update(checkpoint="\x1b[2J", notes=["\x1b]0;\x07", "\u202e", "\nError: b"]),
        in_report(judged_on="\x1b[31mred"),
    ],
)
def test_inspect_prints_no_byte_that_steers_the_terminal(bundle: Path, edit: Edit) -> None:
    forge(bundle, edit)
    result = CliRunner().invoke(inspect, [str(bundle)])
    assert result.exception is None
    assert not set("\x1b\x07\u202e") & set(result.output)
    assert not any(line.startswith("Error") for line in result.output.splitlines())


KINDS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such files")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [MANIFEST, "labels.txt", "golden.npz", "ee.fp32.onnx", "weights.fp32.bin"])
def test_what_is_no_file_is_neither_read_nor_waited_for(
    bundle: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)  # the name of a socket must be short
    Path(name).unlink()
    KINDS[kind](Path(name))
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        opened = open_bundle(bundle)
        for entry in opened.entries():
            check_file(bundle, entry)
    with pytest.raises(OSError):
        hash_file(Path(name))


def test_engines_of_another_model_are_named(bundle: Path) -> None:
    """What the engines give is compared with the geometry, whoever computed the digest."""
    forge(bundle, lambda data: data["geometry"].update(classes=9))
    labels = (bundle / "labels.txt").read_text().splitlines()[:9]
    (bundle / "labels.txt").write_text("\n".join(labels) + "\n")

    def update(data: dict[str, Any]) -> None:
        size = (bundle / "labels.txt").stat().st_size
        data["labels"].update(sha256=hash_file(bundle / "labels.txt"), bytes=size)

    forge(bundle, update)
    model = SACViT(bundle, precision="fp32", threads=1)
    with pytest.raises(BackendError, match=r"ee\.fp32\.onnx gives .* as `logits`, where this model has \[1, 9\]"):
        model.predict(record.TINY_IMAGES[0])
