"""`sacvit verify --pictures`: what a backend and precision do against fp32 on the CPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from sacvit_deploy import SACViT
from sacvit_deploy.commands.group import group
from sacvit_deploy.verification.compare import compare_models

TENSORS = {"ee.logits", "ee.scores", "ee.features", "ee.embeddings", "sac.logits"}


def test_fp32_against_itself(model: SACViT, image_paths: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    found = compare_models(model, model, [*image_paths, bad, *image_paths])
    assert (found.images, found.unreadable) == (14, 1)
    assert found.errors == dict.fromkeys(TENSORS, 0.0)
    assert (found.overlap, found.same_label, found.same_stage) == (1.0, 1.0, 1.0)
    assert "1 could not be read" in found.summary()


def test_half_precision_is_near_but_not_equal(model: SACViT, tiny_bundle: Path, image_paths: list[Path]) -> None:
    half = SACViT(tiny_bundle, precision="fp16", threads=1)
    found = compare_models(half, model, image_paths)
    assert set(found.errors) == TENSORS
    assert all(0 < error < 2e-2 for error in found.errors.values())
    assert found.same_label == 1.0


def test_a_broken_stage_two_shows(
    bundle_copy: Path,
    model: SACViT,
    image_paths: list[Path],
    spoil: Callable[..., None],
    rehash: Callable[[Path], None],
) -> None:
    """NaN for every picture: its error is not a number, and the pictures that continue have no answer."""
    spoil(bundle_copy / "sac.fp32.onnx", limit=-100.0)
    rehash(bundle_copy)
    found = compare_models(SACViT(bundle_copy, precision="fp32", threads=1), model, image_paths)
    assert not found.errors["sac.logits"] <= 1e-3
    assert found.errors["ee.logits"] == 0.0
    assert 0 < found.unreadable < 7


def test_the_command_says_it(tiny_bundle: Path, pictures: Path) -> None:
    arguments = ["verify", str(tiny_bundle), "--pictures", str(pictures), "--threads", "1"]
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.count("same label 100.00%") == 2
    facts = json.loads(CliRunner().invoke(group, [*arguments, "--precision", "fp16", "--json"]).output)
    assert set(facts["against_cpu_fp32"]) == {"fp16"}
    assert facts["against_cpu_fp32"]["fp16"]["pictures"] == 7
    result = CliRunner().invoke(group, ["verify", str(tiny_bundle), "--precision", "int8"])
    assert "no int8 variant" in str(result.exception)


def test_plain_verify_compares_no_pictures(tiny_bundle: Path) -> None:
    facts = json.loads(CliRunner().invoke(group, ["verify", str(tiny_bundle), "--json"]).output)
    assert facts["against_cpu_fp32"] == {}


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_a_backend_without_plans_fails_with_a_reason(backend: str, tiny_bundle: Path) -> None:
    """No library, no GPU, or no plans: always one sentence, never another backend."""
    result = CliRunner().invoke(group, ["verify", str(tiny_bundle), "--backend", backend])
    message = str(result.exception)
    assert result.exit_code == 1
    assert "\n" not in message
    assert any(word in message for word in ("can't be loaded", "CUDA", "no fp", "sacvit build"))
