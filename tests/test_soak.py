"""The soak's judgement, and a short run of it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.errors import ImageError, OutputError, SacvitError
from tests.soak.__main__ import BUNDLE, ROOT
from tests.soak.answers import TOLERANCE, Table, WrongAnswer, answer_table, told_apart, whose
from tests.soak.bundles import write_other

GOOD = sorted((ROOT / "examples/pictures").glob("*.jpg"))[:3]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    folder = tmp_path_factory.mktemp("soak")
    write_other(BUNDLE, folder / "other.sacvit")
    bad = folder / "bad.jpg"
    bad.write_bytes(b"no picture")
    return {
        name: answer_table(SACViT(path, threads=1), [*GOOD, bad])
        for name, path in (("first", BUNDLE), ("second", folder / "other.sacvit"))
    }


def answer_of(path: Path) -> Prediction:
    return SACViT(BUNDLE, threads=1).predict(path)


def test_the_two_bundles_are_told_apart(tables: dict[str, Table]) -> None:
    assert told_apart(tables) == 1
    assert told_apart({"a": tables["first"], "b": tables["first"]}) == 0


def test_an_answer_is_its_bundles(tables: dict[str, Table]) -> None:
    assert whose(tables, GOOD[0], answer_of(GOOD[0])) == "first"


@pytest.mark.parametrize("change", ["probabilities", "stage", "labels", "picture"])
def test_an_answer_of_neither_is_noticed(change: str, tables: dict[str, Table]) -> None:
    answer = answer_of(GOOD[1] if change == "picture" else GOOD[0])
    if change == "probabilities":
        answer = dataclasses.replace(answer, probabilities=answer.probabilities + 2 * TOLERANCE)
    elif change == "stage":
        answer = dataclasses.replace(answer, stage=3 - answer.stage)
    elif change == "labels":
        answer = dataclasses.replace(answer, labels=("somebody else's", *answer.labels[1:]))
    with pytest.raises(WrongAnswer, match="is nobody's"):
        whose(tables, GOOD[0], answer)


@pytest.mark.parametrize("error", [OutputError("NaN"), ImageError("damaged")])
def test_an_error_for_a_good_picture_is_noticed(error: SacvitError, tables: dict[str, Table]) -> None:
    with pytest.raises(WrongAnswer, match=GOOD[0].name):
        whose(tables, GOOD[0], error)


def test_an_error_that_belongs_to_the_file_is_right(tables: dict[str, Table]) -> None:
    bad = next(Path(source) for source, right in tables["first"].items() if right is None)
    assert whose(tables, bad, ImageError("damaged")) == "error"
    with pytest.raises(WrongAnswer, match="is nobody's"):
        tampered = {name: {**table, str(bad): None} for name, table in tables.items()}
        whose(tampered, bad, answer_of(GOOD[0]))


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["packed", "mapped"])
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="NOT TESTED: the soak reads /proc")
def test_a_short_soak_is_clean(weights: str) -> None:
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.3", "--weights", weights]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 wrong" in result.stdout and "refused reloads" in result.stdout
