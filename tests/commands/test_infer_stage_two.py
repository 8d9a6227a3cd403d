"""`sacvit infer --stage-two`: stage 2 in a real server; and what stands in the outputs where it gives no answer."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import BUNDLE, MISSING, REASON, ROOT, Running, serving

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
PICTURES = sorted((ROOT / "examples/pictures").iterdir())[:12]
DEAD = "http://127.0.0.1:9"  # discard, where nobody listens


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def infer(command: Any) -> Any:
    """Runs `sacvit-infer` on the example images, with no proxy before this machine."""

    def run(*arguments: object, **options: Any) -> Any:
        return command("sacvit-infer", *PICTURES, "--bundle", BUNDLE, *arguments, env={"no_proxy": "*"}, **options)

    return run


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_the_same_answers_as_with_stage_2_here(infer: Any, server: Running, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    remote = ["--stage-two", server.url, "--stage-two-timeout", "60", "--stage-two-retries", "2"]
    done = infer(*remote, "--json", "--csv", out)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    expected = [json.loads(line) for line in infer("--json").stdout.splitlines()]
    names = ("source", "position", "label", "stage", "targets")
    assert [[row[name] for name in names] for row in rows] == [[row[name] for name in names] for row in expected]
    assert [row["position"] for row in rows] == list(range(12)) and {row["stage"] for row in rows} == {1, 2}
    assert all("remote" in row["timing_ms"] and "fallback" not in row for row in rows if row["stage"] == 2)
    assert [(row["source"], row["position"], row["fallback"]) for row in table(out)] == [
        (row["source"], str(row["position"]), "") for row in rows
    ]


def test_stage_1_stands_in_and_says_so(infer: Any, tmp_path: Path) -> None:
    out, lines = tmp_path / "out.csv", tmp_path / "out.jsonl"
    options = ["--stage-two-retries", "0", "--stage-two-fallback", "stage_one", "--csv", out, "--jsonl", lines]
    done = infer("--stage-two", DEAD, *options)
    rows = table(out)
    fallen = [row for row in rows if row["fallback"]]
    assert 0 < len(fallen) < 12 and {row["stage"] for row in rows} == {"1"}
    assert all(row["fallback"].startswith(f"stage 2 at {DEAD} ") for row in fallen)
    assert f"{12 - len(fallen)} exited at stage 1, 0 continued (0%); {len(fallen)} by stage 1 in stage 2's place; " in (
        done.stdout
    )
    assert f"stage 2 at {DEAD}\n" in done.stderr  # the heading
    assert done.stderr.count("Note: stage 2 at") == 1 and "stage 1 answers in its place" in done.stderr
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row.get("fallback", "") for row in read] == [row["fallback"] for row in rows]


def test_without_a_stand_in_it_is_the_images_error(infer: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    done = infer("--stage-two", DEAD, "--stage-two-retries", "0", "--json", "--csv", out, expect=1)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [row for row in rows if "error" in row]
    assert 0 < len(failed) < 12 and all(set(row) == {"source", "position", "error"} for row in failed)
    assert all(f"stage 2 at {DEAD}" in row["error"] for row in failed)
    assert [row["position"] for row in rows] == list(range(12))
    assert [row["error"] != "" for row in table(out)] == ["error" in row for row in rows]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--stage-two-timeout", "3"], "--stage-two-timeout goes with --stage-two"),
        (["--stage-two-fallback", "stage_one"], "--stage-two-fallback goes with --stage-two"),
        (["--stage-two", DEAD, "--ray", "2"], "leave out --stage-two"),
        (["--stage-two", "host:8000"], "it must be an address such as http://host:8000"),
        (["--stage-two", DEAD, "--stage-two-timeout", "0"], "--stage-two-timeout"),
        (["--stage-two", DEAD, "--stage-two-fallback", "two"], "'two' is not one of"),
    ],
)
def test_what_can_not_be_is_refused(infer: Any, options: list[str], said: str) -> None:
    assert said in infer(*options, expect=2).stderr
