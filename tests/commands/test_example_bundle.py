"""The bundle that is tracked under examples/, for those who have no torch to export with."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
BUNDLE = EXAMPLES / "int8/model.sacvit"


def test_it_answers_the_example_images(command: Any) -> None:
    # Where `command` runs, importing torch or onnx fails.
    done = command("sacvit-infer", EXAMPLES / "pictures", "--bundle", BUNDLE, "--backend", "onnxruntime", "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    with (EXAMPLES / "truth.csv").open(encoding="utf-8") as file:
        truth = [(row["file"], row["label"]) for row in csv.DictReader(file)]
    found = [(Path(answer["source"]).name, answer["label"]) for answer in answers]
    assert [file for file, _ in found] == [file for file, _ in truth]
    assert found[:12] == truth[:12]
    assert sum(map(tuple.__eq__, found, truth)) >= 32  # 34 where it was made
    assert {answer["stage"] for answer in answers} == {1, 2}


def test_it_is_whole_and_verified(command: Any) -> None:
    facts = json.loads(command("sacvit", "verify", BUNDLE, "--json").stdout)
    assert facts["passed"] and list(facts["parity"]) == ["int8"]


def test_it_is_small_enough_to_track() -> None:
    assert sum(path.stat().st_size for path in BUNDLE.rglob("*")) <= 4_000_000


def test_it_was_made_from_the_example_checkpoint() -> None:
    origin = json.loads((BUNDLE / "manifest.json").read_text(encoding="utf-8"))["provenance"]
    checkpoint = (EXAMPLES / origin["checkpoint"]).read_bytes()
    assert origin["checkpoint_sha256"] == hashlib.sha256(checkpoint).hexdigest()
