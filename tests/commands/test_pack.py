"""`sacvit pack`: one variant of a bundle, which answers as it did in the whole one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy.bundle.bundle import check_file, describe_file, open_bundle
from sacvit_deploy.bundle.plans import RECORD, BuildTarget, PlanFile, PlanRecord, incompatibilities, read_record
from sacvit_deploy.commands.pack import pack_bundle, thin
from sacvit_deploy.verification.golden import load_golden
from tests.data import record

PLACE = BuildTarget("tensorrt", "10.3.0", "Orin", ("8.7",))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """The recorded bundle, of three variants, with plans of two of them."""
    folder = tmp_path / "whole.sacvit"
    folder.mkdir()
    for path in record.BEFORE.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    files = open_bundle(folder).manifest.variants
    for precision in ("fp16", "int8"):
        plans = {}
        place = folder / "plans" / precision
        place.mkdir(parents=True)
        for role in ("ee", "sac", "deit"):
            (place / f"{role}.plan").write_bytes(f"{role} in {precision}".encode())
            onnx = files[precision].files[role]
            plans[role] = PlanFile(describe_file(place / f"{role}.plan"), {onnx.path: onnx.sha256}, ())
        made = PlanRecord(PLACE, precision, (1, 8, 32), (1, 24, 48), plans, "now")
        (place / RECORD).write_bytes(made.to_bytes())
    (folder / "notes of mine.txt").write_text("keep out")
    return folder


@pytest.mark.parametrize("precision", record.PRECISIONS)
def test_answers_are_the_whole_bundles(command: Any, whole: Path, tmp_path: Path, precision: str) -> None:
    small = tmp_path / "small.sacvit"
    said = command("sacvit", "pack", whole, "--precision", precision, "--out", small).stdout
    assert said.startswith(f"wrote {small}: {precision} alone, ")
    answers = [
        command("sacvit-infer", record.ROOT / "export/pictures", "--bundle", bundle, "--precision", precision, "--json")
        for bundle in (whole, small)
    ]
    before, after = ([untimed(line) for line in done.stdout.splitlines()] for done in answers)
    assert len(before) == 7 and before == after
    assert {answer["stage"] for answer in before} == {1, 2}
    facts = json.loads(command("sacvit", "verify", small, "--json").stdout)
    assert facts["passed"] and list(facts["parity"]) == [precision]


def untimed(line: str) -> dict[str, Any]:
    """Read an answer, without what differs from run to run."""
    return {key: value for key, value in json.loads(line).items() if key != "timing_ms"}


def test_it_holds_what_a_runtime_opens_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    pack_bundle(open_bundle(whole), "int8", small)
    files = {path.relative_to(small).as_posix() for path in small.rglob("*") if path.is_file()}
    engines = {"ee.int8.onnx", "sac.int8.onnx", "weights.int8.bin", "view.fp32.onnx", "gather.fp32.onnx"}
    plans = {f"plans/int8/{name}" for name in ("ee.plan", "sac.plan", RECORD)}
    assert files == {"manifest.json", "labels.txt", "golden.npz"} | engines | plans
    for name in engines | {"labels.txt"}:
        assert (small / name).read_bytes() == (whole / name).read_bytes()
    opened, former = open_bundle(small), open_bundle(whole)
    for listed in opened.entries():
        check_file(small, listed)
    assert opened.manifest.eta_of("int8") == former.manifest.eta_of("int8")
    assert opened.manifest.config == former.manifest.config
    assert opened.manifest.provenance["notes"][-1] == "packed: int8 alone, without the baseline"
    assert opened.manifest.provenance["checkpoint_sha256"] == former.manifest.provenance["checkpoint_sha256"]


def test_plans_are_still_taken(whole: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    pack_bundle(open_bundle(whole), "fp16", small)
    kept = read_record(small / "plans/fp16")
    assert list(kept.plans) == ["ee", "sac"]
    # A plan of the baseline, which the folder lacks, would make all of them look stale.
    assert incompatibilities(kept, open_bundle(small), PLACE) == []
    assert incompatibilities(read_record(whole / "plans/fp16"), open_bundle(small), PLACE) != []


def test_golden_vectors_are_thinned_to_one_random_image() -> None:
    golden = load_golden(record.BEFORE / "golden.npz", open_bundle(record.BEFORE).manifest.config)
    assert golden.kinds == ("random", "random", "real", "real")
    thinned = thin(golden)
    assert thinned.kinds == ("random", "real", "real")
    assert np.array_equal(thinned.images, golden.images[[0, 2, 3]])
    assert thin(golden.pick([2, 3])).kinds == ("real", "real")


def test_packing_twice_says_it_once(whole: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    pack_bundle(open_bundle(whole), "int8", tmp_path / "one")
    pack_bundle(open_bundle(tmp_path / "one"), "int8", tmp_path / "two")
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "two")
    ]
    assert contents[0] == contents[1]


def test_what_is_missing_is_named(command: Any, whole: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.sacvit"
    command("sacvit", "pack", whole, "--precision", "int8", "--out", small)
    refused = command("sacvit-infer", "x.jpg", "--bundle", small, "--precision", "fp32", expect=1).stderr
    assert "has no fp32 variant (it has int8); take the bundle that it was packed from" in refused
    refused = command("sacvit", "pack", small, "--precision", "fp16", "--out", tmp_path / "a.sacvit", expect=1).stderr
    assert "export it with --fp16" in refused
    assert not (tmp_path / "a.sacvit").exists()
    assert "--force" in command("sacvit", "pack", whole, "--precision", "int8", "--out", small, expect=1).stderr
    assert ".sacvit" in command("sacvit", "pack", whole, "--precision", "int8", "--out", "x", expect=2).stderr
    facts = json.loads(command("sacvit", "verify", small, "--backend", "openvino", "--json").stdout)
    assert facts["passed"] and "no fp32 variant" in facts["note"]


@pytest.mark.parametrize("name", ["weights.int8.bin", "golden.npz", "plans/int8/sac.plan"])
def test_damage_is_not_passed_on(command: Any, whole: Path, tmp_path: Path, name: str) -> None:
    raw = bytearray((whole / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (whole / name).write_bytes(raw)
    done = command("sacvit", "pack", whole, "--precision", "int8", "--out", tmp_path / "small.sacvit", expect=1)
    assert Path(name).name in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "small.sacvit").exists()


def test_the_engines_for_a_gpu_come_along_but_not_their_baseline(whole: Path, tmp_path: Path) -> None:
    opened = open_bundle(whole)
    variant = opened.variant("fp16")
    files = dict(variant.files)
    for role in ("ee", "sac", "deit"):
        path = whole / f"{role}-gpu.fp16.onnx"
        path.write_bytes(f"{role} for a GPU".encode())
        files[f"{role}-gpu"] = describe_file(path)
    manifest = dataclasses.replace(opened.manifest, variants={"fp16": dataclasses.replace(variant, files=files)})
    folder = tmp_path / "packed"
    folder.mkdir()
    packed = pack_bundle(dataclasses.replace(opened, manifest=manifest), "fp16", folder)
    kept = packed.variants["fp16"]
    assert set(kept.files) == {"ee", "sac", "ee-gpu", "sac-gpu", "view", "gather", "weights"}
    assert (folder / "ee-gpu.fp16.onnx").exists() and not (folder / "deit-gpu.fp16.onnx").exists()
    assert kept.engine_files(for_gpu=True)["sac"].path == "sac-gpu.fp16.onnx"
