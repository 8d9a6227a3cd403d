"""The digits that answers depend on: the same where answers are, others where they are not."""

from __future__ import annotations

import shutil
from pathlib import Path

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.bundle.identity import answers_digest
from sacvit_deploy.bundle.relabel import write_labels
from sacvit_deploy.commands.pack import pack_bundle

BEFORE = Path(__file__).parents[2] / "data/before"


def test_what_counts(tmp_path: Path) -> None:
    bundle = open_bundle(BEFORE)
    digest = answers_digest(bundle, "fp32")
    assert len(digest) == 12 and int(digest, 16) >= 0
    packed = tmp_path / "packed.sacvit"
    packed.mkdir()
    (packed / "manifest.json").write_bytes(pack_bundle(bundle, "fp32", packed).to_bytes())
    assert answers_digest(open_bundle(packed), "fp32") == digest
    precisions = list(bundle.manifest.variants)
    assert len({answers_digest(bundle, precision) for precision in precisions}) == len(precisions)
    copy = Path(shutil.copytree(BEFORE, tmp_path / "copy.sacvit"))
    write_labels(copy, [f"new {number}" for number in range(len(bundle.labels))], "a test")
    assert answers_digest(open_bundle(copy), "fp32") != digest
