"""Recorded answers and files: what earlier versions answered, byte for byte where the machine is the same.

`tests/data/record.py` says how they came about and when to record them anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import Prediction, SACViT
from tests.data import record

RECORD: dict[str, Any] = json.loads(record.ANSWERS.read_text(encoding="utf-8"))
SAME_CPU = record.machine() == RECORD["machine"]
Answers = Mapping[str, Mapping[str, Any]]

# On another CPU or with other libraries sums are added in another order. In fp16 that moves the last of 11 bits, in
# some CPUs' arithmetic and not in others'; int8 products saturate on x86 without VNNI, so whole layers change a little.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.1}


# What an export has written otherwise since the record: fp32's gather casts images to fp32 instead of fp16, which not
# every GPU computes with; the bytes that move are the same numbers (the ranges' key hashes that file, too).
# And fp16 has engines laid out for GPUs, with a few tensors of theirs behind the others in the weights.
CHANGED = {
    "tiny": {
        "gather.fp32.onnx": "7a0ec87c0d58a2ce32e730fb18d94456748e00ba48c1ed8fa68e49a10a812754",
        "ee-gpu.fp16.onnx": "12cdb31cb710336829eb86af48b6baba5fc8d41a8bd1572b45532b3e5e8e0f51",
        "sac-gpu.fp16.onnx": "68f659cf0b4368d6ab977ba3f6b8c062f8b4d8b758ae9f288a74df45263bcfa3",
        "deit-gpu.fp16.onnx": "fcacb6f57c399f1650d1fa2518372b6a625e2b7b03769e44fcf3389c9012e6e4",
        "weights.fp16.bin": "05935474c0546e9a4c26a33d61ee78e402d0b5709799449842a6f1a6522f33ce",
        "ranges.int8.npz": "e218ea7cab9600ac9d2b957fb46e34343592e4d8e076427b849c51cc690b2179",
    },
    "example": {"gather.fp32.onnx": "9e33065f5ada9006b0dfbadda2f8a5159270bf33777dcbdb22f9155cdca2ae58"},
}


def same(packages: Iterable[str]) -> bool:
    """Tell whether this machine computes as the one of the record did."""
    return SAME_CPU and all(RECORD["versions"][name] == version for name, version in record.versions(packages).items())


def check(found: Answers, recorded: Answers, eta: float, precision: str) -> None:
    """Compare answers to the last bit where that can be asked, else within the precision's tolerance."""
    assert found.keys() == recorded.keys()
    if same(record.ANSWERING):
        assert found == recorded
    else:
        check_roughly(found, recorded, eta, precision)


def check_roughly(found: Answers, recorded: Answers, eta: float, precision: str) -> None:
    """Compare answers within the tolerance; reduced precision may decide a few near-ties differently."""
    allowed = TOLERANCES[precision]
    differing = 0
    for name, before in recorded.items():
        now = found[name]
        assert now["stage_one_probability"] == pytest.approx(before["stage_one_probability"], abs=allowed), name
        if abs(before["stage_one_probability"] - eta) > allowed:
            assert now["stage"] == before["stage"], name
        if any(now[key] != before[key] for key in ("label", "stage", "targets")):
            differing += 1
        else:
            assert now["probability"] == pytest.approx(before["probability"], abs=allowed), name
    assert differing <= {"fp32": 0, "fp16": 0.1, "int8": 0.5}[precision] * len(recorded)


def test_the_older_bundle_is_as_it_was_written() -> None:
    assert record.hashes(record.BEFORE) == RECORD["files"]["tiny"]


def test_the_older_bundle_passes_verify() -> None:
    command = [sys.executable, "-m", "sacvit_deploy", "verify", str(record.BEFORE), "--threads", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=record.ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert facts["passed"] and set(facts["parity"]) == set(record.PRECISIONS)


@pytest.mark.parametrize("precision", record.PRECISIONS)
def test_the_older_bundle_gives_the_answers_it_gave(precision: str) -> None:
    recorded = RECORD["tiny"][precision]
    assert {answer["stage"] for answer in recorded.values()} == {1, 2}
    eta = SACViT(record.BEFORE, precision=precision, threads=1).eta
    check(record.answers(record.BEFORE, precision, record.TINY_IMAGES), recorded, eta, precision)


@pytest.mark.parametrize("precision", record.PRECISIONS)
def test_a_stream_gives_the_same_answers(precision: str) -> None:
    model = SACViT(record.BEFORE, backend="onnxruntime", precision=precision, threads=1)
    results = list(model.stream(record.TINY_IMAGES, batch_size=5, workers=2))
    found = {
        record.recorded_name(path): record.answer(result)
        for path, result in zip(record.TINY_IMAGES, results, strict=True)
        if isinstance(result, Prediction)
    }
    assert found.keys() == RECORD["tiny"][precision].keys()
    check_roughly(found, RECORD["tiny"][precision], model.eta, precision)


@pytest.mark.slow
def test_the_checkpoint_still_becomes_the_same_bundle(tmp_path: Path) -> None:
    """In all three precisions, int8's calibration included."""
    options = ("--fp16", "--int8", "--calib", str(record.calibration_images(tmp_path / "pictures")))
    record.export(record.TINY, tmp_path / "tiny.sacvit", *options)
    compare_files(record.hashes(tmp_path / "tiny.sacvit"), RECORD["files"]["tiny"] | CHANGED["tiny"])
    before, now = (manifest(folder) for folder in (record.BEFORE, tmp_path / "tiny.sacvit"))
    assert now.keys() == before.keys()
    if same(record.EXPORTING):
        assert now == before


def manifest(bundle: Path) -> dict[str, Any]:
    """Read a manifest without the date of the export, the versions of the packages, and the digest over them."""
    # What a variant was judged on is a sentence, which has said "images" since.
    text = (bundle / "manifest.json").read_text().replace(" pictures from ", " images from ")
    facts: dict[str, Any] = json.loads(text)
    del facts["digest"], facts["provenance"]["exported"], facts["provenance"]["versions"]
    for variant in facts["variants"].values():
        variant["files"] = {
            role: file for role, file in variant["files"].items() if file["path"] not in CHANGED["tiny"]
        }
        variant.get("report", {}).get("calibration", {}).pop("key", None)
    return facts


@pytest.mark.slow
def test_the_example_model_gives_the_answers_it_gave(tmp_path: Path) -> None:
    bundle = tmp_path / "example.sacvit"
    record.export(record.EXAMPLE, bundle)
    compare_files(record.hashes(bundle), RECORD["files"]["example"] | CHANGED["example"])
    recorded = RECORD["example"]["fp32"]
    assert {answer["stage"] for answer in recorded.values()} == {1, 2}
    check(record.answers(bundle, "fp32", record.EXAMPLE_IMAGES), recorded, 0.6, "fp32")


def compare_files(found: Mapping[str, str], recorded: Mapping[str, str]) -> None:
    """Compare the files' names, and their bytes where the same libraries wrote them on the same make of machine."""
    assert found.keys() == recorded.keys()
    if same(record.EXPORTING):
        differing = [name for name in recorded if name != "manifest.json" and found[name] != recorded[name]]
        assert differing == []
