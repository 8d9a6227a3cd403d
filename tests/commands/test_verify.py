"""`sacvit verify`: passes on a whole bundle, fails on any other."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.verification.golden import load_golden

FILES = ("labels.txt", "golden.npz", "ee.fp32.onnx", "sac.fp32.onnx", "weights.fp32.bin", "weights.fp16.bin")


def no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def test_whole_bundle_passes(command: Any, tiny_bundle: Path) -> None:
    done = command("sacvit", "verify", tiny_bundle, "--json")
    facts = json.loads(done.stdout, parse_constant=no_constant)
    assert facts["passed"] is True
    assert facts["files"] == 17
    assert [(precision, parity["passed"]) for precision, parity in facts["parity"].items()] == [
        ("fp32", True),
        ("fp16", True),
    ]
    for parity in facts["parity"].values():
        assert {(c["pictures"], c["batch"]) for c in parity["cases"]} == {
            ("random", 1),
            ("random", 2),
            ("real", 1),
            ("real", 2),
        }
    done = command("sacvit", "verify", tiny_bundle)
    assert "17 files whole" in done.stdout
    assert "fp32: ok" in done.stdout
    assert "fp16: ok" in done.stdout


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_flipped_bit_fails(command: Any, bundle_copy: Path, name: str) -> None:
    raw = bytearray((bundle_copy / name).read_bytes())
    raw[len(raw) // 3] ^= 4
    (bundle_copy / name).write_bytes(raw)
    done = command("sacvit", "verify", bundle_copy, expect=1)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert name in done.stderr
    assert done.stderr.count("\n") == 1


def test_other_answers_fail(command: Any, bundle_copy: Path, rehash: Callable[[Path], None]) -> None:
    golden = load_golden(bundle_copy / "golden.npz", open_bundle(bundle_copy).manifest.config)
    wrong = dataclasses.replace(golden, sac_logits=tuple(logits + 0.01 for logits in golden.sac_logits))
    wrong.save(bundle_copy / "golden.npz")
    rehash(bundle_copy)
    done = command("sacvit", "verify", bundle_copy, expect=1)
    assert "fp32: FAILED" in done.stdout
    assert "fp16: ok" in done.stdout  # within what half precision may lose


def test_engine_that_gives_nan_fails(
    command: Any, bundle_copy: Path, rehash: Callable[[Path], None], spoil: Callable[..., None]
) -> None:
    spoil(bundle_copy / "sac.fp32.onnx", limit=-100.0)
    rehash(bundle_copy)
    done = command("sacvit", "verify", bundle_copy, "--json", expect=1)
    facts = json.loads(done.stdout, parse_constant=no_constant)
    assert facts["passed"] is False
    assert facts["parity"]["fp32"]["passed"] is False
    assert facts["parity"]["fp16"]["passed"] is True


def test_no_bundle(command: Any, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x")
    for path in (tmp_path / "none.sacvit", tmp_path / "plain", tmp_path):
        assert command("sacvit", "verify", path, expect=1).stderr.startswith("Error: ")


def test_openvino_is_compared_with_onnx_runtime(command: Any, tiny_bundle: Path) -> None:
    facts = json.loads(command("sacvit", "verify", tiny_bundle, "--backend", "openvino", "--json").stdout)
    assert facts["passed"] is True
    assert set(facts["against_cpu_fp32"]) == {"fp32", "fp16"}
    assert facts["note"] == ""


@pytest.mark.parametrize("backend", ["openvino", "auto"])
def test_openvino_alone(command: Any, tiny_bundle: Path, backend: str) -> None:
    done = command("sacvit", "verify", tiny_bundle, "--backend", backend, forbid=("onnxruntime",))
    assert "OpenVINO" in done.stdout
    assert done.stdout.count(": ok") == 2
    assert "not compared with fp32 on ONNX Runtime" in done.stdout
    command.notes.unlink()
