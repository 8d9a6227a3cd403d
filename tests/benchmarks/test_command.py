"""`sacvit bench` from its options to its files."""

from __future__ import annotations

import json
import math
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from sacvit_deploy.benchmarks.baselines.store import Baselines
from sacvit_deploy.benchmarks.report.results import read_json
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import BundleError, UsageError

from .conftest import Benched, run


def rows(benched: Benched, **wanted: object) -> list[dict[str, Any]]:
    found = [row for row in benched.data["rows"] if all(row[key] == value for key, value in wanted.items())]
    assert found, wanted
    return found


def test_the_json_is_what_its_schema_says(benched: Benched) -> None:
    schema = json.loads((resources.files("sacvit_deploy.benchmarks") / "bench.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(benched.data, schema)
    again = read_json(benched.folder / "bench.json").to_dict()
    assert json.loads(json.dumps(again)) == benched.data


def test_every_case_has_every_contender(benched: Benched) -> None:
    cascades = [f"cascade {gate} fp32" for gate in ("50%", "100%", "eta 0.6")]
    others = [f"{name} fp32" for name in ("deit", "sait", "sait-mass")]
    for scope in ("engine", "file"):
        for batch in (1, 3):
            names = [row["name"] for row in rows(benched, scope=scope, batch=batch)]
            scaled = [name.replace("cascade", "cascade-scaled") for name in cascades if scope == "file"]
            assert sorted(names) == sorted([*cascades, *scaled, *others, "vs:onnx_file.onnx as is"])
            for name in names:
                assert name in benched.printed
    assert any("stvit not run" in note and "4 blocks" in note for note in benched.data["notes"])


def test_forced_shares_are_reached_and_counted(benched: Benched, tiny_bundle: Path) -> None:
    config = open_bundle(tiny_bundle).manifest.config
    for row in rows(benched, contender="cascade"):
        if "forced" in row["gate"]:
            assert row["continued"] == round(row["gate"]["forced"] * 7) / 7
        assert row["gmacs"] == pytest.approx(costs(config).cascade(row["continued"]) / 1e9)
        assert row["ideal"] == pytest.approx(costs(config).ideal_speedup(row["continued"]))


def test_ratios_are_of_the_rounds_that_were_shared(benched: Benched) -> None:
    for row in benched.data["rows"]:
        case = {key: row[key] for key in ("scope", "batch", "threads")}
        (deit,) = rows(benched, contender="deit", **case)
        if row["contender"] == "deit":
            assert "deit" not in row["ratios"]
        else:
            expected = [a / b for a, b in zip(deit["rounds_ms"], row["rounds_ms"], strict=True)]
            found = row["ratios"]["deit"]
            assert (found["low"], found["high"]) == pytest.approx((min(expected), max(expected)))


def test_steps_make_up_the_time_and_latencies_are_in_order(benched: Benched) -> None:
    for row in benched.data["rows"]:
        if row["gate"] is not None:
            steps = {"view", "ee", "gate", "gather", "sac", "answer"}
        elif row["contender"] == "sait-mass":
            steps = {"view", "head", "select+gather", "tail", "answer"}
        else:
            steps = {"view", "engine", "answer"}
        if row["scope"] == "file":
            steps |= {"decode", "preprocess"}
        assert set(row["steps_ms"]) == steps, row["name"]
        if row["scope"] == "engine" or row["batch"] == 1:  # decoding ahead overlaps the engines
            # Of two rounds the median is the mean.
            assert sum(row["steps_ms"].values()) <= 1.001 * sum(row["rounds_ms"]) / 2
        latency = row["latency_ms"]
        assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]


def test_accuracy_is_that_of_the_labels(benched: Benched) -> None:
    # By how the folders were made: the odd images are right in stage 2, the even ones in stage 1.
    everybody = rows(benched, name="cascade 100% fp32")
    assert {row["accuracy"] for row in everybody} == {everybody[0]["accuracy"]}
    assert 3 / 7 <= everybody[0]["accuracy"] <= 1
    assert all(row["accuracy"] is None for row in rows(benched, contender="sait"))
    deit, onnx_file = (rows(benched, name=name)[0] for name in ("deit fp32", "vs:onnx_file.onnx as is"))
    assert deit["accuracy"] == onnx_file["accuracy"]


def test_what_is_left_out_is_said(benched: Benched) -> None:
    assert benched.data["pictures"]["count"] == 7
    assert any("1 unreadable image left out" in note for note in benched.data["notes"])
    if not benched.data["energy"]:
        assert all(row["joules"] is None for row in benched.data["rows"])
        assert "J/image" not in benched.printed


def test_files(benched: Benched) -> None:
    assert sorted(path.name for path in benched.folder.iterdir()) == [
        "bench.json", "contenders.png", "ratio.png", "report.html", "steps.png",
    ]  # fmt: skip


def test_a_bench_agrees_with_itself(benched: Benched) -> None:
    path = benched.folder / "bench.json"
    told = run("--compare", path, path)
    assert f"0 faster, 0 slower, {told.count(' same') - 1} same" in told
    data = json.loads(run("--compare", path, path, "--json"))
    assert data["same_machine"]
    assert {one["change"] for one in data["verdicts"]} == {1.0}
    assert len(data["verdicts"]) == 2 * len(benched.data["rows"]) - 4 + len(benched.data["processes"])


def test_without_data_images_are_made(tiny_bundle: Path, baselines: Baselines, baselines_folder: Path) -> None:
    printed = run(
        tiny_bundle, "--pictures", 4, "--batch", 4, "--continue", 0.25, "--against", "deit", "--precision", "fp32",
        "--rounds", 1, "--processes", 0, "--json",
    )  # fmt: skip
    data = json.loads(printed)
    assert "640x480" in data["pictures"]["name"]
    assert [row["name"] for row in data["rows"]] == ["cascade 25% fp32", "deit fp32"]
    assert data["rows"][0]["continued"] == 0.25
    assert all(math.isfinite(row["ms"]["median"]) for row in data["rows"])


# --- on a device: no torch


def test_a_finished_folder_of_baselines_needs_no_torch(
    command: Any, tiny_bundle: Path, baselines: Baselines, baselines_folder: Path
) -> None:
    arguments = ["sacvit", "bench", tiny_bundle, "--pictures", "2", "--batch", "2", "--continue", "0.5", "--precision",
                 "fp32", "--rounds", "1", "--processes", "0"]  # fmt: skip
    done = command(*arguments, "--opponents", baselines_folder)
    assert "sait-mass fp32" in done.stdout
    done = command(*arguments, "--opponents", "elsewhere", expect=1)
    assert "pip install 'sacvit-deploy[export]', or copy that folder" in done.stderr
    assert command.notes.read_text().split()[0] in ("torch", "onnx", "onnx_ir")
    command.notes.unlink()  # here it was asked for rightly


# --- bad input


def test_words_and_numbers_that_mean_nothing(tiny_bundle: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (["--scope", "gpu"], "--scope gpu: choose among engine, file"),
        (["--against", "resnet"], "--against resnet: choose among deit"),
        (["--against", ""], "choose among"),
        (["--eta", "2"], "eta is 2.0"),
        (["--continue", "1.5", "--against", "deit"], "continue fraction of 1.5"),
        (["--alpha", "1"], "alpha is 1.0"),
        (["--precision", "fp8"], "unknown precision .fp8."),
        (["--png"], "--out"),
        (["--scaled"], "add --scope file"),
        (["--data", str(tmp_path)], "holds no"),
        (["--data", str(tmp_path / "none")], "can't read"),
        (["--vs", str(tmp_path / "none.onnx")], "no such file"),
        (["--compare", str(tmp_path / "a"), str(tmp_path / "b")], "can't read"),
    ):
        with pytest.raises((UsageError, BundleError), match=said):
            run(tiny_bundle, "--pictures", 2, "--rounds", 1, "--processes", 0, *arguments)


def test_a_folder_with_nothing_but_damage(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UsageError, match="none of the 1 images can be read"):
        run(tiny_bundle, "--data", tmp_path, "--against", "deit", "--processes", 0)


def test_scope_file_needs_files(tiny_bundle: Path, scenes: Path) -> None:
    with pytest.raises(UsageError, match="needs image files"):
        run(tiny_bundle, "--data", scenes, "--scope", "file", "--against", "deit", "--processes", 0)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A rendered split of two scenes."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "images.npy", rng.integers(0, 255, (2, 224, 224, 3)).astype(np.uint8))
    np.save(tmp_path / "labels.npy", np.array([0, 1]))
    np.save(tmp_path / "object_px.npy", np.array([20, 90], np.float32))
    np.save(tmp_path / "boxes.npy", np.array([[0, 0, 20, 20], [5, 5, 95, 95]], np.int16))
    (tmp_path / "scenes.json").write_text(json.dumps({"split": "test"}))
    return tmp_path
