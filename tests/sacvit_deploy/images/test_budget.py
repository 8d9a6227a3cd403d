"""The account of decoding's memory: in order, never overdrawn, never stuck; and what the machine has for it."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.budget import EACH, LEAST, MB, Budget, default_budget, default_total, free_memory, limits


def test_it_is_never_overdrawn_and_nobody_waits_for_ever() -> None:
    budget, lock = Budget(100, 60), threading.Lock()
    used = highest = served = 0

    def work(seed: int) -> None:
        nonlocal used, highest, served
        rng = random.Random(seed)
        for _ in range(50):
            size = rng.randrange(61)
            with budget.reserve(size) as held:
                with lock:
                    used, highest = used + size, max(highest, used + size)
                time.sleep(rng.random() / 2000)
                part = rng.randrange(size + 1)
                with lock:
                    used -= size - part
                held.shrink(part)
                with lock:
                    used, served = used - part, served + 1

    threads = [threading.Thread(target=work, args=[seed], daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert served == 8 * 50
    assert 60 < highest <= 100
    with budget.reserve(60):  # all of it has been given back
        pass


def test_a_large_image_gets_its_turn_before_small_ones_that_came_later() -> None:
    budget = Budget(100, 100)
    order: list[str] = []
    waiting = []

    def take(name: str, size: int) -> None:
        with budget.reserve(size):
            order.append(name)

    with budget.reserve(50):
        for name, size in (("large", 100), ("small", 10), ("tiny", 1)):
            thread = threading.Thread(target=take, args=[name, size], daemon=True)
            thread.start()
            waiting.append(thread)
            while len(budget._queue) < len(waiting):
                time.sleep(0.001)
        assert order == []
    for thread in waiting:
        thread.join(60)
    assert order[0] == "large"
    assert sorted(order[1:]) == ["small", "tiny"]


def test_an_exception_gives_the_memory_back() -> None:
    budget = Budget(10, 10)
    with pytest.raises(ZeroDivisionError), budget.reserve(10) as held:
        held.shrink(5)
        raise ZeroDivisionError
    with budget.reserve(10):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_child_begins_with_an_empty_account() -> None:
    budget = Budget(10, 10)
    with budget.reserve(10):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            with budget.reserve(10):  # it would wait for a thread that did not come along
                pass
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert budget._used == 10


def test_limits() -> None:
    assert limits().memory is default_budget() is limits(5).memory
    assert (limits(5).pixels, limits().memory.each) == (5, min(EACH, default_budget().total))
    own = limits(None, 900)
    assert (own.memory.total, own.memory.each) == (900 * MB, 900 * MB)
    assert own.memory is not limits(None, 900).memory
    for arguments in ((0, None), (None, 0), (-3, 7)):
        with pytest.raises(UsageError, match="max_.* at least 1"):
            limits(*arguments)
    assert LEAST <= default_budget().total <= 4 * EACH


# --- what the machine has: the cases that C++ is tested with, too

CASES = json.loads((Path(__file__).parents[2] / "golden/free_memory.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_free_memory(case: dict[str, Any], tmp_path: Path) -> None:
    for name, text in case["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    free = free_memory(tmp_path)
    assert free == case["free"]
    assert default_total(free) == case["total"]
