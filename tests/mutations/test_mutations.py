"""Some hundreds of damaged and forged inputs of each kind, and whether a failure among them would be noticed."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from random import Random

import pytest

from sacvit_deploy.bundle.bundle import MANIFEST, open_bundle
from sacvit_deploy.errors import BundleError
from tests.data import record
from tests.mutations.against_cpp import compare
from tests.mutations.cases import Case
from tests.mutations.mutate import damaged, forged, resealed, written
from tests.mutations.run import TooLongError, alarm, run, run_case
from tests.mutations.subjects import bundle_in, subjects

COUNT = 150
PROBE = Path(__file__).parents[2] / "build/cpp/tests/refusal_probe"
KINDS = ("manifest", "plan", "bundle", "image", "golden", "checkpoint", "labels", "request")

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarm: NOT RUN")


@pytest.mark.slow
def test_nothing_but_refusals(tmp_path: Path) -> None:
    made = subjects(tmp_path)
    assert set(made) == set(KINDS)
    for name, tally in run(made, dict.fromkeys(made, COUNT)).items():
        assert not tally.failures, f"{name}: {tally.failures}"
        assert sum(tally.outcomes.values()) == COUNT
        assert len(tally.outcomes) > 1, f"{name}: all cases end alike, {tally.outcomes}"


def test_failures_are_noticed() -> None:
    def broken() -> None:
        raise KeyError("labels")

    def refused() -> None:
        raise BundleError("no bundle")

    def rambling() -> None:
        raise BundleError("no bundle\nbut a page about it")

    assert run_case("x", lambda random: Case(broken), 0, 0) == ("KeyError", "KeyError: 'labels'")
    assert run_case("x", lambda random: Case(lambda: None, must_fail=True), 0, 0)[1] is not None
    assert run_case("x", lambda random: Case(rambling), 0, 0)[1] is not None
    assert run_case("x", lambda random: Case(lambda: None), 0, 0) == ("taken", None)
    assert run_case("x", lambda random: Case(refused, must_fail=True), 0, 0) == ("BundleError", None)


def test_what_hangs_is_noticed() -> None:
    with pytest.raises(TooLongError), alarm(1):
        time.sleep(60)


def test_a_case_can_be_repeated() -> None:
    raw = (record.BEFORE / MANIFEST).read_bytes()
    assert damaged(raw, Random(7)) == damaged(raw, Random(7))
    assert damaged(raw, Random(7)) != damaged(raw, Random(8))


def test_resealed_files_pass_the_seal(tmp_path: Path) -> None:
    bundle = bundle_in(tmp_path)
    data = json.loads((bundle / MANIFEST).read_bytes())
    (bundle / MANIFEST).write_bytes(resealed(written({**data, "name": "another"})))
    assert open_bundle(bundle).manifest.name == "another"
    changed = {json.dumps(forged(data, Random(number))) for number in range(50)}
    assert len(changed) > 40


@pytest.mark.slow
@pytest.mark.skipif(not PROBE.exists(), reason="the C++ runtime is not built: the comparison is NOT RUN (make cpp)")
def test_python_takes_no_manifest_that_cpp_refuses() -> None:
    outcomes = compare(450, [str(PROBE)])
    assert outcomes["python"] == []
    assert len(outcomes["both"]) > 20 and len(outcomes["neither"]) > 100
