"""`sacvit calibrate`: the files it writes, its output, and the answers of the calibrated bundle."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.defaults import write_defaults
from sacvit_deploy.bundle.manifest import Variant
from sacvit_deploy.calibration.cache import load_cache, save_cache
from sacvit_deploy.calibration.linears import linears
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.metrics import continues
from sacvit_deploy.evaluation.outputs import EvalOutputs, collect
from sacvit_deploy.evaluation.scenes import open_scenes

from .conftest import Calibrated
from .making import ROLES, calibrate, layer_names, snapshot

AGAIN = "the bundle already has the ranges of these images and settings"


def int8_of(bundle: Path) -> Variant:
    return open_bundle(bundle).variant("int8")


def answers(bundle: Path, precision: str, eval_set: Path) -> EvalOutputs:
    """Run both stages on the evaluation set, at alpha 0.5."""
    model = SACViT(bundle, precision=precision, threads=1)
    return collect(model.cascade, open_scenes(eval_set, 10, 224, model.config.preprocessing), [0.5])


def test_from_real_images_to_answers(command: Any, bundle_copy: Path, class_folder: Path, hard: Path) -> None:
    done = command("sacvit", "calibrate", bundle_copy, "--calib", class_folder, "--max-drop", 60, forbid=("torch",))
    assert done.stderr == "" and "judged on 28 images" in done.stdout
    rows = {words[0]: words for line in done.stdout.splitlines() if (words := line.split())}
    report = int8_of(bundle_copy).report
    assert rows["int8"][1] == f"{100 * report['top1']['ee']['value']:.2f}" and {"fp32", "fp16"} < set(rows)
    assert rows["int8:"] == ["int8:", "largest", "loss", f"{max(0, report['drop']):.2f}", "points"]
    assert f"wrote {bundle_copy}: fp32, fp16, int8" in done.stdout
    assert "int8: ok" in command("sacvit", "verify", bundle_copy).stdout
    done = command("sacvit-infer", hard, "--bundle", bundle_copy, "--precision", "int8", "--eta", 1, "--json")
    answer = json.loads(done.stdout.splitlines()[0])
    expected = SACViT(bundle_copy, precision="fp32", threads=1).predict(hard, eta=1.0)
    assert answer["label"] == expected.label and answer["stage"] == 2


def test_the_table_is_in_the_manifest(calibrated: Calibrated, eval_set: Path) -> None:
    manifest = open_bundle(calibrated.bundle).manifest
    reference = answers(calibrated.bundle, "fp32", eval_set)
    for precision in ("fp16", "int8"):
        report, outputs = manifest.variants[precision].report, answers(calibrated.bundle, precision, eval_set)
        eta = manifest.eta_of(precision)
        assert report["judged_on"] == f"96 scenes from {eval_set.name}/, the calibration's among them"
        assert report["top1"]["ee"]["right"] == (outputs.ee.answer == outputs.labels).sum()
        assert report["top1"]["sac"]["right"] == (outputs.sac[0.5].answer == outputs.labels).sum()
        both = np.where(continues(outputs.ee.probability, eta), outputs.sac[0.5].answer, outputs.ee.answer)
        assert report["top1"]["cascade"]["right"] == (both == outputs.labels).sum()
        assert report["agreement"]["ee"] == pytest.approx((outputs.ee.answer == reference.ee.answer).mean())
        flips = continues(outputs.ee.probability, 0.6) != continues(reference.ee.probability, 0.6)
        assert report["gate_flips"] == pytest.approx(flips.mean())
        overlap = [np.isin(a, b).mean() for a, b in zip(outputs.targets[0.5], reference.targets[0.5], strict=True)]
        assert report["target_overlap"] == pytest.approx(np.mean(overlap))
        # As many exit as with fp32 at its own eta.
        assert continues(outputs.ee.probability, eta).sum() == continues(reference.ee.probability, 0.6).sum()
        assert report["exits"] == pytest.approx(1 - continues(reference.ee.probability, 0.6).mean())
        line = next(line for line in calibrated.output.splitlines() if line.startswith(f"  {precision}  "))
        assert f"{100 * report['top1']['sac']['value']:.2f} (" in line and f"{report['agreement']['ee']:.2%}" in line
        assert f"({eta:.4g})" in line and f"{report['gate_flips']:.2%}" in line
    assert "judged on 96 scenes" in calibrated.output
    assert manifest.variants["fp32"].eta is None and manifest.eta == 0.6


def test_each_variant_answers_at_its_own_eta(calibrated: Calibrated, eval_set: Path) -> None:
    manifest = open_bundle(calibrated.bundle).manifest
    images = list(np.load(eval_set / "images.npy")[:24])
    for precision in ("fp32", "int8"):
        model = SACViT(calibrated.bundle, precision=precision, threads=1)
        assert model.eta == manifest.eta_of(precision) == (manifest.variants[precision].eta or 0.6)
        for one, other in zip(model.predict_batch(images), model.predict_batch(images, eta=model.eta), strict=True):
            assert isinstance(one, Prediction) and isinstance(other, Prediction) and one.stage == other.stage


def test_the_calibration_is_in_the_manifest(calibrated: Calibrated, fp32: dict[str, onnx.ModelProto]) -> None:
    facts = int8_of(calibrated.bundle).report["calibration"]
    assert (facts["ranges"], facts["smoothing"], facts["alphas"], facts["eta"]) == ("percentile", 0.5, [0.5], 0.6)
    assert facts["pictures"] == 48 and 0 < facts["continued"] < 48
    assert set(facts["damage"]) == set(layer_names(fp32)) and facts["kept_in_fp32"] == []
    values = list(facts["damage"].values())
    assert values == sorted(values, reverse=True) and values[0] > 0
    assert len(facts["key"]) == 64


def test_every_weight_is_stored_once_in_a_quarter(calibrated: Calibrated) -> None:
    variant = int8_of(calibrated.bundle)
    assert set(variant.files) == {"ee", "sac", "deit", "weights", "ranges", "view", "gather"}
    places: dict[tuple[int, int], str] = {}
    wanted: Counter[str] = Counter()
    for role in ROLES:
        path = calibrated.bundle / variant.files[role].path
        assert path.stat().st_size < 60_000
        model = onnx.load(str(path), load_external_data=False)
        named = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type != "DequantizeLinear" or node.input[0] not in named:
                continue
            tensor = named[node.input[0]]
            entries = {entry.key: entry.value for entry in tensor.external_data}
            if tensor.name.startswith("head."):
                assert not entries  # a kilobyte and less is in the graph
                continue
            assert entries["location"] == "weights.int8.bin" and int(entries["length"]) == np.prod(tensor.dims)
            wanted[tensor.name] += 1
            places[int(entries["offset"]), int(entries["length"])] = tensor.name
    assert wanted.total() == 9 + 11 + 9 and len(places) == len(wanted) == 11
    linear = sum(length for _, length in places)
    whole = (calibrated.bundle / "weights.fp32.bin").stat().st_size
    rest = whole - 4 * linear  # positions and the like, which stay in fp32
    assert linear == 64 * (768 + 2 * 12 * 64 + 8 * 64)
    weights = (calibrated.bundle / "weights.int8.bin").stat().st_size
    assert linear + 0.9 * rest < weights < linear + 1.1 * rest + 4096 * len(wanted)


def test_the_plot_opens(calibrated: Calibrated) -> None:
    assert f"sensitivity by layer: {calibrated.plot}" in calibrated.output
    with Image.open(calibrated.plot) as image:
        image.load()
        assert image.format == "PNG" and min(image.size) > 200
        colours = image.convert("RGB").getcolors(1 << 20)
    assert colours is not None and (0x4F, 0x81, 0xBD) in {colour for _, colour in colours}


def test_a_second_run_takes_the_ranges_from_the_bundle(calibrated: Calibrated, eval_set: Path, tmp_path: Path) -> None:
    assert AGAIN not in calibrated.output
    bundle = Path(shutil.copytree(calibrated.bundle, tmp_path / "tiny.sacvit"))
    same = ("--calib", eval_set, "--pictures", 48, "--max-drop", 20)
    before = snapshot(bundle)
    assert AGAIN in calibrate(bundle, *same)
    after = snapshot(bundle)
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} <= {"manifest.json"}
    # Ranges that somebody changed are not used: they are computed again.
    key = int8_of(bundle).report["calibration"]["key"]
    cached = load_cache(bundle / "ranges.int8.npz", key)
    assert cached is not None
    halves = {role: {layer: top / 2 for layer, top in by_layer.items()} for role, by_layer in cached.ranges.items()}
    save_cache(bundle / "ranges.int8.npz", dataclasses.replace(cached, ranges=halves))
    assert AGAIN not in calibrate(bundle, *same)
    assert snapshot(bundle) == after


def test_another_calibration_replaces_the_first(calibrated: Calibrated, eval_set: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(calibrated.bundle, tmp_path / "tiny.sacvit"))
    (bundle / "notes.txt").write_text("mine")
    write_defaults(bundle, eta=0.125, alpha=0.5, reason="by hand", precision="int8")
    before = snapshot(bundle)
    output = calibrate(
        bundle,
        "--calib",
        eval_set,
        "--pictures",
        20,
        "--eta",
        0.8,
        "--alphas",
        "0.3,0.5",
        "--smoothing",
        0.3,
        "--ranges",
        "minmax",
        "--max-drop",
        50,
    )
    assert AGAIN not in output and "20 calibration images" in output
    assert "int8: its default eta 0.125 becomes" in output
    assert not [note for note in open_bundle(bundle).manifest.provenance["notes"] if "by hand" in note]
    facts = int8_of(bundle).report["calibration"]
    assert (facts["ranges"], facts["smoothing"], facts["alphas"], facts["eta"]) == ("minmax", 0.3, [0.3, 0.5], 0.8)
    assert facts["pictures"] == 20 and facts["continued"] <= 20
    after = snapshot(bundle)
    assert after.keys() == before.keys() and after["ranges.int8.npz"] != before["ranges.int8.npz"]
    for name in before:
        if ".fp32." in name or ".fp16." in name or name in ("golden.npz", "labels.txt", "notes.txt"):
            assert after[name] == before[name]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.sacvit"]


def test_a_bundle_named_by_a_dot_and_by_a_link(
    bundle_copy: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle_copy)
    calibrate(".", "--calib", pictures)
    assert "int8" in open_bundle(bundle_copy).manifest.variants
    monkeypatch.chdir(bundle_copy.parent)
    os.symlink("tiny.sacvit", "link.sacvit")
    calibrate("link.sacvit", "--calib", pictures, "--smoothing", 0)
    assert int8_of(bundle_copy).report["calibration"]["smoothing"] == 0
    assert Path("link.sacvit").is_symlink() and sorted(os.listdir()) == ["link.sacvit", "tiny.sacvit"]


def test_a_plot_that_can_not_be_written_costs_no_bundle(bundle_copy: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SacvitError, match=r"can't write .*file/damage\.png"):
        calibrate(bundle_copy, "--calib", pictures, "--plot", tmp_path / "file" / "damage.png")
    assert "int8" in open_bundle(bundle_copy).manifest.variants


def test_the_engines_keep_their_names(calibrated: Calibrated, fp32: dict[str, onnx.ModelProto]) -> None:
    for role in ROLES:
        model = onnx.load(str(calibrated.bundle / f"{role}.int8.onnx"))
        assert [v.name for v in model.graph.input] == [v.name for v in fp32[role].graph.input]
        assert [v.name for v in model.graph.output] == [v.name for v in fp32[role].graph.output]
        # No product with a constant matrix in floats is left.
        assert linears(model) == []
