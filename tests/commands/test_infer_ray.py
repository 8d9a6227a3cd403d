"""`sacvit infer --ray` where there is no Ray: what it refuses. tests/serving/ray runs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy import UsageError
from sacvit_deploy.ray.files import Actors, share


def test_processes() -> None:
    assert Actors.parse("4") == Actors(4, 0)
    assert Actors.parse("4+2") == Actors(4, 2)
    for text in ("0", "", "2+", "+2", "1+0", "-1", "2.5", "\u0664", "4 +2", "12345678"):
        with pytest.raises(UsageError, match=r"4\+2"):
            Actors.parse(text)


def test_one_cpu_stays_for_others() -> None:
    assert share(1, 3, 4) == 1
    assert share(2, 2, 16) == 2
    assert share(1, 2, 2) == 0.5
    assert share(4, 4, 8) * 4 == 7
    assert 0 < share(1, 1, 1) < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ray", "many"], "'many' is no number of processes"),
        (["--ray", "2", "--keep", "all"], "leave out --keep"),
        (["--ray", "2", "--max-delay", "1"], "leave out --keep and --max-delay"),
        (["--ray", "2", "--capture"], "neither --capture nor"),
        (["--ray", "2", "--device", "cuda"], "--ray runs on CPUs; on GPUs take classify(num_gpus=1)"),
        (["--ray", "2", "--backend", "tensorrt"], "--ray runs on CPUs"),
        (["--ray", "2", "--decode", "gpu"], "--ray runs on CPUs"),
        (["--ray", "2", "-"], "--ray answers image files"),
    ],
)
def test_refused(command: Any, easy: Path, tiny_bundle: Path, options: list[str], words: str) -> None:
    done = command("sacvit-infer", easy, *options, "--bundle", tiny_bundle, expect=2)
    assert words in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is here")
def test_ray_is_missing(command: Any, easy: Path, tiny_bundle: Path) -> None:
    done = command("sacvit-infer", easy, "--ray", "2", "--bundle", tiny_bundle, expect=1)
    assert "pip install 'sacvit-deploy[ray]'" in done.stderr
