"""Numbers of threads: some hundred thousand would take the machine down, and no machine has so many cores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sacvit_deploy import SACViT
from sacvit_deploy.commands.infer import command as infer
from sacvit_deploy.commands.verify import command as verify
from sacvit_deploy.cpu import MOST_THREADS, check_threads
from sacvit_deploy.errors import UsageError
from tests.data import record


@pytest.mark.parametrize("threads", [1, 2, MOST_THREADS, np.int64(4)])
def test_threads_that_are_taken(threads: int) -> None:
    assert check_threads(threads) == threads


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1, 200_000, 10**30, True, 1.5, "2"])
def test_threads_that_are_refused(threads: Any) -> None:
    with pytest.raises(UsageError, match="threads is"):
        check_threads(threads)
    with pytest.raises(UsageError, match="threads is"):
        SACViT(record.BEFORE, threads=threads)


def test_workers_are_threads_too() -> None:
    model = SACViT(record.BEFORE, threads=1)
    with pytest.raises(UsageError, match="workers is 200000"):
        model.stream([record.TINY_IMAGES[0]], workers=200_000)


@pytest.mark.parametrize("command", [infer, verify])
def test_commands_refuse_them(command: Any) -> None:
    result = CliRunner().invoke(command, [str(record.TINY_IMAGES[0]), "--threads", "200000"])
    assert result.exit_code == 2
    assert "200000 is not in the range" in result.output
