"""Rewriting a bundle's defaults: whole, with a digest that fits, or not at all."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from sacvit_deploy.bundle.defaults import write_defaults
from sacvit_deploy.bundle.manifest import Manifest
from sacvit_deploy.calibration.accuracy_gate import save_variants
from sacvit_deploy.errors import BundleError, UsageError
from sacvit_deploy.locks import LOCK

from .conftest import Calibrated


def test_defaults_are_what_the_bundle_answers_with(bundle_copy: Path, image_paths: list[Path]) -> None:
    before = open_bundle(bundle_copy).manifest
    write_defaults(bundle_copy, eta=1.0, alpha=0.25, reason="first")
    write_defaults(bundle_copy, eta=1, alpha=0.3, reason="chosen by a test")
    after = open_bundle(bundle_copy).manifest
    assert (after.eta, after.config.method.alpha) == (1.0, 0.3)
    assert after.provenance["notes"] == [*before.provenance["notes"], "defaults: chosen by a test"]
    assert after.variants == before.variants and after.golden == before.golden
    assert sorted(path.name for path in bundle_copy.iterdir() if "manifest" in path.name) == [MANIFEST]
    prediction = SACViT(bundle_copy, precision="fp32", threads=1).predict(image_paths[0])
    assert prediction.stage == 2 and prediction.targets is not None and len(prediction.targets) == 14


def test_notes_say_who_chose_which_variants_eta(bundle_copy: Path) -> None:
    def told() -> list[str]:
        return [note for note in open_bundle(bundle_copy).manifest.provenance["notes"] if note.startswith("defaults")]

    write_defaults(bundle_copy, eta=0.7, alpha=0.5, reason="for all")
    write_defaults(bundle_copy, eta=0.6, alpha=0.5, reason="first", precision="fp16")
    write_defaults(bundle_copy, eta=0.5, alpha=0.5, reason="again", precision="fp16")
    assert told() == ["defaults: for all", "defaults of fp16: again"]
    bundle = open_bundle(bundle_copy)
    save_variants(bundle, {"fp16": dataclasses.replace(bundle.manifest.variants["fp16"], eta=0.4)})
    assert told() == ["defaults: for all"]
    write_defaults(bundle_copy, eta=0.6, alpha=0.5, reason="anew", precision="fp16")
    write_defaults(bundle_copy, eta=0.8, alpha=0.5, reason="last")
    assert told() == ["defaults: last"]


@pytest.mark.parametrize(("eta", "alpha"), [(1.5, 0.5), (float("nan"), 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, 0.001)])
def test_values_out_of_range_change_nothing(bundle_copy: Path, eta: float, alpha: float) -> None:
    raw = (bundle_copy / MANIFEST).read_bytes()
    with pytest.raises(UsageError):
        write_defaults(bundle_copy, eta=eta, alpha=alpha, reason="x")
    assert (bundle_copy / MANIFEST).read_bytes() == raw


def test_a_changed_manifest_is_not_signed_again(bundle_copy: Path) -> None:
    path = bundle_copy / MANIFEST
    path.write_bytes(path.read_bytes().replace(b'"eta": 0.6', b'"eta": 0.7'))
    with pytest.raises(BundleError, match="was changed after it was written"):
        write_defaults(bundle_copy, eta=0.5, alpha=0.5, reason="x")


def test_a_bundle_that_can_not_be_written(bundle_copy: Path) -> None:
    raw = (bundle_copy / MANIFEST).read_bytes()
    (bundle_copy / LOCK).mkdir()  # stops root as well, whom permissions don't
    with pytest.raises(BundleError, match=r"can't write .*manifest.json: .*; its defaults are unchanged"):
        write_defaults(bundle_copy, eta=0.5, alpha=0.5, reason="x")
    assert (bundle_copy / MANIFEST).read_bytes() == raw


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_bundle(bundle_copy: Path) -> None:
    bundle_copy.chmod(0o555)
    try:
        with pytest.raises(BundleError, match="can't write"):
            write_defaults(bundle_copy, eta=0.5, alpha=0.5, reason="x")
    finally:
        bundle_copy.chmod(0o755)


def test_a_bundle_replaced_since_it_was_measured_keeps_its_defaults(
    bundle_copy: Path, edit_manifest: Callable[[Path, Callable[[Manifest], Manifest]], None]
) -> None:
    measured = open_bundle(bundle_copy).variant("fp16")
    edit_manifest(bundle_copy, lambda manifest: dataclasses.replace(manifest, eta=0.3))
    write_defaults(bundle_copy, eta=0.5, alpha=0.5, reason="x", precision="fp16", measured=measured)
    raw = (bundle_copy / MANIFEST).read_bytes()
    other = open_bundle(bundle_copy).variant("fp32")
    with pytest.raises(BundleError, match="was replaced while it was measured; its defaults are unchanged"):
        write_defaults(bundle_copy, eta=0.6, alpha=0.5, reason="x", precision="fp16", measured=other)
    assert (bundle_copy / MANIFEST).read_bytes() == raw


def etas(bundle: Path) -> dict[str, float]:
    return {name: open_bundle(bundle).manifest.eta_of(name) for name in ("fp32", "fp16", "int8")}


def test_an_eta_belongs_to_the_variant_it_was_chosen_with(calibrated: Calibrated, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(calibrated.bundle, tmp_path / "tiny.sacvit"))
    before = etas(bundle)
    assert before["fp32"] == 0.6
    write_defaults(bundle, eta=0.75, alpha=0.5, reason="for int8", precision="int8")
    assert etas(bundle) == {**before, "int8": 0.75}
    assert SACViT(bundle, precision="int8", threads=1).eta == 0.75
    assert SACViT(bundle, precision="fp32", threads=1).eta == 0.6
    write_defaults(bundle, eta=0.5, alpha=0.5, reason="for fp16", precision="fp16")
    assert etas(bundle) == {"fp32": 0.6, "fp16": 0.5, "int8": 0.75}
    # What was matched to the bundle's old eta fits the new one no better than that itself.
    write_defaults(bundle, eta=0.7, alpha=0.5, reason="for all")
    assert etas(bundle) == {"fp32": 0.7, "fp16": 0.7, "int8": 0.7}
    after = open_bundle(bundle).manifest
    assert all(variant.eta is None for variant in after.variants.values())
    assert after.variants["int8"].report == open_bundle(calibrated.bundle).manifest.variants["int8"].report


def test_a_variants_eta_decides_who_continues(calibrated: Calibrated, image_paths: list[Path], tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(calibrated.bundle, tmp_path / "tiny.sacvit"))
    for eta, stage in ((0.0, 1), (1.0, 2)):
        write_defaults(bundle, eta=eta, alpha=0.5, reason="a test", precision="int8")
        assert SACViT(bundle, precision="int8", threads=1).predict(image_paths[0]).stage == stage
