"""`sacvit inputs`: polygraphy itself runs the engines on what it writes, and gets what the cascade gets."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sacvit_deploy import SACViT
from sacvit_deploy.arrays import Array
from sacvit_deploy.commands.group import group
from sacvit_deploy.confidence import softmax
from sacvit_deploy.contract import ROLES
from sacvit_deploy.errors import BundleError, ImageError, OutputError, UsageError
from sacvit_deploy.prediction import Prediction

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples/int8/model.sacvit"
PICTURES = REPOSITORY / "examples/pictures"


def sacvit(*arguments: object) -> Result:
    return CliRunner().invoke(group, [str(argument) for argument in arguments])


def write(bundle: Path, role: str, out: Path, *more: object, pictures: Path = PICTURES) -> Path:
    result = sacvit("inputs", bundle, "--role", role, "--pictures", pictures, "--threads", 1, "--out", out, *more)
    assert result.exit_code == 0, result.output + str(result.exception)
    (command,) = (line for line in result.output.splitlines() if line.startswith("next: polygraphy run "))
    return Path(command.split()[3])  # the engine's file


def run_polygraphy(engine: Path, script: str, out: str, folder: Path) -> Iterator[dict[str, Array]]:
    """Run polygraphy's own command on what a script loads, which must end well, and yield the outputs of each call."""
    from polygraphy.comparator import RunResults

    program = Path(sysconfig.get_path("scripts")) / "polygraphy"
    words = ["run", str(engine), "--onnxrt", "--data-loader-script", script, "--save-outputs", out]
    environment = {**os.environ, "POLYGRAPHY_AUTOINSTALL_DEPS": "0"}
    done = subprocess.run(
        [sys.executable, str(program), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((_, calls),) = RunResults.load(str(folder / out))
    for call in calls:
        yield {name: np.asarray(call[name]) for name in call}


def answers(bundle: Path, precision: str, eta: float) -> list[Prediction]:
    """What the cascade says of the same pictures."""
    model = SACViT(bundle, backend="onnxruntime", precision=precision, threads=1)
    found = model.predict_batch(sorted(PICTURES.iterdir()), eta=eta)
    assert all(isinstance(prediction, Prediction) for prediction in found)
    return [prediction for prediction in found if isinstance(prediction, Prediction)]


@pytest.mark.slow
@pytest.mark.parametrize("role", ["ee", "sac"])
def test_polygraphy_gets_the_cascades_answers(role: str, tmp_path: Path) -> None:
    """Stage 1 on all pictures; stage 2 on those that continue at the bundle's own eta."""
    predictions = answers(EXAMPLE, "int8", SACViT(EXAMPLE, precision="int8", threads=1).eta)
    second = [prediction.probability for prediction in predictions if prediction.stage == 2]
    assert 0 < len(second) < len(predictions)
    expected = second if role == "sac" else [prediction.stage_one_probability for prediction in predictions]
    engine = write(EXAMPLE, role, tmp_path / "load.py", "--precision", "int8")
    logits = np.concatenate([call["logits"] for call in run_polygraphy(engine, "load.py", "out.json", tmp_path)])
    assert softmax(logits).max(axis=1) == pytest.approx(expected, abs=1e-5)


def test_gather_of_polygraphy_is_what_stage_two_gets(tmp_path: Path) -> None:
    """The bytes that one loader holds are what the engine before it makes from the other's."""
    more = ("--precision", "int8", "--alpha", 0.3, "--eta", 1, "--batch", 5, "--count", 8)
    engine = write(EXAMPLE, "gather", tmp_path / "gather.py", *more)
    write(EXAMPLE, "sac", tmp_path / "sac.py", *more)
    calls = list(run_polygraphy(engine, "gather.py", "gather.json", tmp_path))
    assert [len(call["targets"]) for call in calls] == [5, 3]
    with np.load(tmp_path / "sac.npz") as arrays:
        for at, call in enumerate(calls):
            for name in ("positions", "target_features", "background"):
                assert np.array_equal(call[name], arrays[f"{at}.{name}"]), name
            assert np.allclose(call["patches"], arrays[f"{at}.patches"], atol=1e-6)


def test_polygraphy_compares_two_precisions(tiny_bundle: Path, pictures: Path, tmp_path: Path) -> None:
    """Every role of an export runs, in both precisions, each on inputs of its own types; answers agree."""
    for role in ROLES:
        first = {}
        for precision in ("fp32", "fp16"):
            more = ("--precision", precision, "--eta", 1)
            engine = write(tiny_bundle, role, tmp_path / f"{precision}.py", *more, pictures=pictures)
            first[precision] = next(run_polygraphy(engine, f"{precision}.py", f"{precision}.json", tmp_path))
        assert set(first["fp16"]) == set(first["fp32"])
        if role == "gather":
            continue  # a token whose score is nearly another's may be another target
        for name, value in first["fp32"].items():
            worst = np.abs(first["fp16"][name].astype(np.float64) - value).max()
            assert worst <= 2e-2 * np.abs(value).max(), (role, name)


def test_what_can_not_be_written_is_said(tmp_path: Path) -> None:
    out = tmp_path / "sac.py"
    arguments = ("inputs", EXAMPLE, "--precision", "int8", "--threads", 1)

    def refusal(kind: type[Exception], *more: object, pictures: object = PICTURES) -> str:
        result = sacvit(*arguments, "--pictures", pictures, *more)
        assert isinstance(result.exception, kind), result.output
        assert "\n" not in str(result.exception)
        return str(result.exception)

    assert "no image of 40 has finite answers" in refusal(OutputError, "--role", "sac", "--eta", 0, "--out", out)
    assert "has no deit engine in int8" in refusal(BundleError, "--role", "deit", "--out", out)
    assert "must be NAME.py" in refusal(UsageError, "--role", "sac", "--out", tmp_path / "sac.int8.py")
    assert "alpha" in refusal(UsageError, "--role", "sac", "--alpha", 2, "--out", out)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    assert "bad.jpg" in refusal(ImageError, "--role", "ee", "--out", out, pictures=tmp_path / "bad.jpg")
    missing = tmp_path / "missing" / "sac.py"
    assert f"can't write {missing}" in refusal(Exception, "--role", "view", "--count", 1, "--out", missing)
    assert not out.exists()
