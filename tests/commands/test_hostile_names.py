"""Names of files and classes that would steer a terminal: printed with escapes, exact in JSON. Plans count as files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from sacvit_deploy.bundle.bundle import MANIFEST, describe_file, open_bundle
from tests.data import record
from tests.mutations.mutate import resealed, written
from tests.mutations.subjects import bundle_in

STEERING = "\x1b]0;owned\x07\u202e"
LABEL = "\x1b[2Jgone\u202e\x9b31m"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose classes are all named to clear the screen, by somebody who can compute a digest."""
    target = bundle_in(tmp_path)
    (target / "labels.txt").write_text(f"{LABEL}\n" * 10, encoding="utf-8")
    data = json.loads((target / MANIFEST).read_bytes())
    entry = describe_file(target / "labels.txt")
    data["labels"] = {"path": entry.path, "sha256": entry.sha256, "bytes": entry.bytes}
    (target / MANIFEST).write_bytes(resealed(written(data)))
    assert open_bundle(target).labels[0] == LABEL
    return target


@pytest.fixture
def image(tmp_path: Path) -> Path:
    if sys.platform == "win32":
        pytest.skip("no such name on Windows")
    return Path(shutil.copy(record.TINY_IMAGES[0], tmp_path / f"{STEERING}.jpg"))


def test_infer_escapes_names(command: Any, bundle: Path, image: Path) -> None:
    (image.parent / f"bad{STEERING}.jpg").write_bytes(b"no image")
    done = command("sacvit", "infer", image.parent, "--bundle", bundle, "--precision", "fp32", expect=1)
    assert not set(STEERING + LABEL) & set(done.stdout + done.stderr) & set("\x1b\x07\u202e\x9b")
    assert "\\x1b[2Jgone\\u202e" in done.stdout
    assert "\\x1b]0;owned\\x07" in done.stderr


def test_json_is_exact(command: Any, bundle: Path, image: Path) -> None:
    done = command("sacvit", "infer", image, "--bundle", bundle, "--precision", "fp32", "--json")
    assert done.stdout.isascii()
    facts = json.loads(done.stdout)
    assert facts["label"] == LABEL
    assert facts["source"] == str(image)


def test_verify_counts_plans(command: Any, bundle: Path) -> None:
    done = command("sacvit", "verify", bundle)
    assert "19 files and 4 plans whole" in done.stdout
    assert json.loads(command("sacvit", "verify", bundle, "--json").stdout)["plans"] == 4
    plan = next((bundle / "plans").glob("*/sac.plan"))
    plan.write_bytes(b"the SAC plan")
    refused = command("sacvit", "verify", bundle, expect=1)
    assert refused.stderr.startswith("Error: ") and "sac.plan was changed" in refused.stderr


def test_threads_without_end(command: Any, bundle: Path, image: Path) -> None:
    done = command("sacvit", "infer", image, "--bundle", bundle, "--threads", "200000", expect=2)
    assert "200000" in done.stderr
