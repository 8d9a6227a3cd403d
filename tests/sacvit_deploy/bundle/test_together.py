"""Readers and writers of one bundle at once, each in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from sacvit_deploy.bundle.bundle import MANIFEST, describe_file, open_bundle
from tests.data import record

OPENS = 2000
READ = """
import sys
from sacvit_deploy import SACViT
from sacvit_deploy.bundle.bundle import read_steadily
path, image, opens = sys.argv[1], sys.argv[2], int(sys.argv[3])
etas = set()
for number in range(opens):
    bundle = read_steadily(path, lambda bundle: (bundle.held_files("fp32"), bundle)[1])
    assert len(bundle.labels) == 10
    etas.add((bundle.manifest.eta, bundle.labels[0]))
    if number % 100 == 0:
        SACViT(path, precision="fp32", threads=1).predict(image)
print(len(etas))
"""
EXPORT = """
import shutil, sys
from pathlib import Path
from sacvit_deploy.bundle import write
from sacvit_deploy.bundle.write import whole_folder
target, source = map(Path, sys.argv[1:3])
if sys.argv[3] == "two renames":
    write.exchange = lambda one, other: False
while target.with_name("go").exists():
    with whole_folder(target, replace=True) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
print("ended")
"""
CHANGE = """
import itertools, sys
from pathlib import Path
from sacvit_deploy.bundle.defaults import write_defaults
from sacvit_deploy.bundle.relabel import write_labels
target = Path(sys.argv[1])
for turn in itertools.count():
    if not target.with_name("go").exists():
        break
    write_labels(target, [f"{turn % 3} {number}" for number in range(10)], "a test")
    write_defaults(target, eta=0.1 + turn % 7 / 10, alpha=0.5, reason="a test")
print("ended")
"""


def start(code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=record.ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_who_reads_beside_writers_gets_a_whole_bundle(way: str, tmp_path: Path) -> None:
    """Two exports, a relabelling with new defaults, and readers, on one path.

    Where exports take two renames, the relabelling could find no bundle for an instant, so it takes no part there.
    """
    bundle, other = tmp_path / "tiny.sacvit", tmp_path / "other"
    shutil.copytree(record.BEFORE, bundle)
    shutil.copytree(record.BEFORE, other)
    # Another bundle: other bytes under the same names.
    engine = other / "ee.fp32.onnx"
    model = onnx.load(engine, load_external_data=False)
    model.doc_string = "another export"
    engine.write_bytes(model.SerializeToString())
    opened = open_bundle(record.BEFORE)
    variants = dict(opened.manifest.variants)
    fp32 = variants["fp32"]
    variants["fp32"] = dataclasses.replace(fp32, files={**fp32.files, "ee": describe_file(engine)})
    manifest = dataclasses.replace(opened.manifest, eta=0.9, variants=variants)
    (other / MANIFEST).write_bytes(manifest.to_bytes())
    go = tmp_path / "go"
    go.touch()
    writers = [start(EXPORT, bundle, source, way) for source in (record.BEFORE, other)]
    if way == "exchange":
        writers.append(start(CHANGE, bundle))
    readers = [start(READ, bundle, record.TINY_IMAGES[0], OPENS // 2) for _ in range(2)]
    try:
        seen = [reader.communicate(timeout=900) for reader in readers]
    finally:
        go.unlink()
    assert [reader.returncode for reader in readers] == [0, 0], seen
    assert all(int(out) > (5 if way == "exchange" else 1) for out, _ in seen), seen  # it did change under them
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert (out, writer.returncode) == ("ended\n", 0), err
    for precision in record.PRECISIONS:
        open_bundle(bundle).checked_files(precision)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "tiny.sacvit"]


BUILD = """
import sys
from pathlib import Path
from sacvit_deploy.bundle.bundle import describe_file, open_bundle
from sacvit_deploy.bundle.plans import RECORD, BuildTarget, PlanFile, PlanRecord
from sacvit_deploy.bundle.write import changing, whole_folder
target, turn = Path(sys.argv[1]), 0
while target.with_name("go").exists() or not turn:
    turn += 1
    with changing(target) as bundle, whole_folder(bundle / "plans" / "some", replace=True, mark=RECORD) as folder:
        onnx = {entry.path: entry.sha256 for entry in open_bundle(bundle).variant("fp32").files.values()}
        plans = {}
        for role in ("ee", "sac"):
            (folder / f"{role}.plan").write_bytes(bytes([turn % 251]) * 5000)
            plans[role] = PlanFile(describe_file(folder / f"{role}.plan"), onnx, ())
        gpu = BuildTarget("tensorrt", "10.3.0", "a GPU", ("8.9",))
        record = PlanRecord(gpu, "fp32", (1, 8, 9), (1, 8, 9), plans, "now")
        (folder / RECORD).write_bytes(record.to_bytes())
print("ended")
"""
READ_PLANS = """
import sys
from sacvit_deploy.bundle.bundle import read_steadily
from sacvit_deploy.bundle.plans import BuildTarget, find_plans
here, seen = BuildTarget("tensorrt", "10.3.0", "a GPU", ("8.9",)), set()
for number in range(500):
    plans = read_steadily(sys.argv[1], lambda bundle: find_plans(bundle, "fp32", here))
    assert bytes(plans["ee"]) == bytes(plans["sac"])
    seen.add(bytes(plans["ee"])[0])
print(len(seen))
"""


@pytest.mark.slow
def test_who_reads_plans_beside_a_build_gets_whole_ones(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(record.BEFORE, tmp_path / "tiny.sacvit"))
    go = tmp_path / "go"
    assert start(BUILD, bundle).communicate(timeout=120)[0] == "ended\n"
    go.touch()
    writers, reader = [start(BUILD, bundle) for _ in range(2)], start(READ_PLANS, bundle)
    try:
        out, err = reader.communicate(timeout=600)
    finally:
        go.unlink()
    assert reader.returncode == 0, err
    assert int(out) > 3  # they did change under it
    for writer in writers:
        assert writer.communicate(timeout=120)[0] == "ended\n" and writer.returncode == 0
    assert [path.name for path in (bundle / "plans").iterdir()] == ["some"]


CONTAINED = """
import os, shutil, sys, time
from pathlib import Path
from sacvit_deploy.bundle.write import whole_folder
target, source = map(Path, sys.argv[1:])
for turn in range(20):
    with whole_folder(target, replace=True) as folder:
        for path in source.iterdir():
            shutil.copyfile(path, folder / path.name)
            time.sleep(0.002)
print(os.getpid())
"""


def test_two_containers_with_the_same_process_number(tmp_path: Path) -> None:
    """Names made of process numbers would be the same in both, on the volume that they share."""
    rights = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    alone = ("unshare", *rights, "--pid", "--fork", "--kill-child")
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("not run: this system lets nobody make process namespaces")
    bundle = Path(shutil.copytree(record.BEFORE, tmp_path / "tiny.sacvit"))
    both = [start(CONTAINED, bundle, record.BEFORE, prefix=alone) for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    for precision in record.PRECISIONS:
        open_bundle(bundle).checked_files(precision)
    assert list(tmp_path.iterdir()) == [bundle]
