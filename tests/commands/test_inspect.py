"""`sacvit inspect`: numbers without an engine."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.commands.inspect import describe, inspect_table
from sacvit_deploy.config import Preprocessing
from sacvit_deploy.costs import costs
from sacvit_deploy.errors import UsageError
from tests.data import record

NO_ENGINE = ("torch", "onnx", "onnxruntime")


def test_json(command: Any, tiny_bundle: Path) -> None:
    done = command("sacvit", "inspect", tiny_bundle, "--json", forbid=NO_ENGINE)
    facts = json.loads(done.stdout)
    assert facts["bundle"] == str(tiny_bundle)
    assert (facts["name"], facts["eta"], facts["alpha"]) == ("tiny", 0.6, 0.5)
    assert facts["tokens"] == {
        "low_res": 49,
        "targets": 24,
        "background": 25,
        "stage_1": 50,
        "stage_2": 122,
        "deit": 197,
    }
    assert facts["preprocessing"] == {
        "interpolation": "bicubic",
        "crop": 0.875,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "resize": "shortest_edge",
        "resize_rounding": "floor",
        "resized_to": 256,
    }
    count = costs(open_bundle(tiny_bundle).manifest.config)
    assert facts["gmacs"]["ee"] * 1e9 == pytest.approx(count.ee)
    assert facts["gmacs"]["cascade"]["0.23"] * 1e9 == pytest.approx(count.cascade(0.23))
    assert set(facts["variants"]) == {"fp32", "fp16"}
    for variant in facts["variants"].values():
        paths = [tiny_bundle / entry["path"] for entry in variant["files"].values()]
        assert variant["bytes"] == sum(path.stat().st_size for path in paths)
        assert variant["parity"]["largest_error"] <= variant["parity"]["tolerance"]
    assert facts["provenance"]["checkpoint"] == "tiny.safetensors"
    assert "/" not in json.dumps(facts["provenance"])  # no paths of the exporting machine


def test_text(command: Any, tiny_bundle: Path) -> None:
    os.symlink(tiny_bundle, command.cwd / "nearby.sacvit")
    done = command("sacvit", "inspect", forbid=NO_ENGINE)
    assert done.stdout.startswith("nearby.sacvit\n")
    for words in ("width 64", "low-res 49, targets 24, background 25", "stage 2 122", "identical", "weights.fp16.bin"):
        assert words in done.stdout


def test_preprocessing_in_words(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)

    def words(preprocessing: Preprocessing) -> str:
        config = replace(opened.manifest.config, preprocessing=preprocessing)
        table = inspect_table(describe(replace(opened, manifest=replace(opened.manifest, config=config)), None))
        return next(line for line in table.splitlines() if line.startswith("  images "))

    assert words(Preprocessing()) == (
        "  images      shorter side to 256 (224 / 0.875, rounded down; bicubic), centre 224 x 224; "
        "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )
    assert "shorter side to 249 (224 / 0.9, rounded to the nearest;" in words(
        Preprocessing(crop=0.9, resize_rounding="nearest")
    )
    squashed = words(Preprocessing("bilinear", 0.9, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize="squash"))
    assert squashed == (
        "  images      squashed to 248 x 248 (224 / 0.9, rounded down; bilinear), centre 224 x 224; "
        "mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    )


def test_a_bundle_from_before_the_field_rounds_to_the_nearest() -> None:
    facts = describe(open_bundle(Path(__file__).parents[1] / "data" / "before"), None)
    assert facts["preprocessing"]["resize_rounding"] == "nearest"
    assert "rounded to the nearest" in inspect_table(facts)


def test_alpha_changes_the_counts(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    few, many = describe(opened, 0.3), describe(opened, 0.7)
    assert few["tokens"]["targets"] == 14
    assert few["gmacs"]["sac"] < many["gmacs"]["sac"]
    assert "targets 14" in inspect_table(few)
    with pytest.raises(UsageError):
        describe(opened, 1.0)


def test_a_window_is_shown_and_alpha_is_its_share() -> None:
    opened = open_bundle(record.BEFORE)
    method = dataclasses.replace(opened.manifest.config.method, selection="window", region_size=3, alpha=1.0)
    config = dataclasses.replace(opened.manifest.config, method=method)
    facts = describe(dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, config=config)), None)
    tokens = facts["tokens"]
    assert (tokens["low_res"], tokens["window"], tokens["targets"], tokens["background"]) == (16, 9, 9, 7)
    text = inspect_table(facts)
    assert "selection window, region_size 3" in text and "alpha 1.0 of the window's 9 tokens" in text
    assert "alpha 0.5\n" in inspect_table(describe(opened, None))


def test_no_bundle(command: Any, tmp_path: Path) -> None:
    done = command("sacvit", "inspect", tmp_path / "none.sacvit", expect=1)
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    command("sacvit", "inspect", expect=1)


def test_bad_alpha(command: Any, tiny_bundle: Path) -> None:
    assert "alpha is 2" in command("sacvit", "inspect", tiny_bundle, "--alpha", "2", expect=2).stderr
