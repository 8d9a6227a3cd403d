"""What was opened goes on answering, whatever happens to its folder; `reload` takes what is there now, as a whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from sacvit_deploy import BundleError, Prediction, SACViT, SacvitError
from tests.data.record import BEFORE, TINY_IMAGES

IMAGES = [str(path) for path in TINY_IMAGES[:6]]
WEIGHTS = pytest.mark.parametrize("weights", ["packed", "mapped"])
BACKENDS = pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "old.sacvit"))


@pytest.fixture
def new(tmp_path: Path, rehash: Callable[[Path], None]) -> Path:
    """The bundle with other weights in both engines, and other names."""
    folder = Path(shutil.copytree(BEFORE, tmp_path / "new.sacvit"))
    weights = np.fromfile(folder / "weights.fp32.bin", np.float32)
    (-weights).tofile(folder / "weights.fp32.bin")
    (folder / "labels.txt").write_text("".join(f"new {number}\n" for number in range(10)))
    rehash(folder)
    return folder


@pytest.fixture
def live(old: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(old, tmp_path / "live.sacvit"))


def opened(folder: Path, backend: str = "onnxruntime", weights: str = "packed") -> SACViT:
    return SACViT(folder, backend=backend, precision="fp32", threads=1, weights=weights)


def answers(model: SACViT) -> list[tuple[str, list[float]]]:
    """Answers of both stages: labels and probabilities, in short."""
    found = model.predict_batch(IMAGES, eta=0.0) + model.predict_batch(IMAGES, eta=1.0)
    return [(one.label, one.probabilities.tolist()) for one in found if isinstance(one, Prediction)]


def same(found: list[tuple[str, list[float]]], wanted: list[tuple[str, list[float]]]) -> bool:
    return [label for label, _ in found] == [label for label, _ in wanted] and bool(
        np.allclose([row for _, row in found], [row for _, row in wanted], rtol=0, atol=1e-6)
    )


def replace(target: Path, source: Path) -> None:
    """Replace a bundle as people do: a whole copy beside it, and two renames."""
    copy = Path(shutil.copytree(source, target.with_name("copy")))
    target.rename(target.with_name("gone"))
    copy.rename(target)
    shutil.rmtree(target.with_name("gone"))


def test_the_two_bundles_answer_differently(old: Path, new: Path) -> None:
    first, second = answers(opened(old)), answers(opened(new))
    assert len(first) == len(second) == 2 * len(IMAGES)
    for (_, one), (_, other) in zip(first, second, strict=True):
        assert np.abs(np.subtract(one, other)).max() > 1e-3


# --- after opening


def zeroed(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))


def removed(folder: Path) -> None:
    shutil.rmtree(folder)


@BACKENDS
@WEIGHTS
@pytest.mark.parametrize("damage", [zeroed, removed])
@pytest.mark.parametrize("first", ["before stage 2 is opened", "after"])
def test_damage_changes_no_answer(
    live: Path, old: Path, backend: str, weights: str, damage: Callable[[Path], None], first: str
) -> None:
    model = opened(live, backend, weights)
    wanted = answers(opened(old, backend, weights))
    if first == "after":
        answers(model)
    damage(live)
    assert same(answers(model), wanted)


CUT_SHORT = """
import json, os, sys
from pathlib import Path
from tests.sacvit_deploy.test_held_bundle import answers, opened
folder, weights, first = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
model = opened(folder, weights=weights)
if first == "after":
    answers(model)
for path in folder.iterdir():
    os.truncate(path, 0)
print(json.dumps(answers(model)))
"""


@WEIGHTS
@pytest.mark.parametrize("first", ["before", "after"])
def test_files_cut_short(live: Path, old: Path, weights: str, first: str) -> None:
    """In a process of its own, as reading a mapping beyond its file's end kills the process."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", CUT_SHORT, str(live), weights, first]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert same([(label, row) for label, row in json.loads(found.stdout)], answers(opened(old, weights=weights)))


def test_another_current_folder(live: Path, new: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(live.parent)
    model, wanted = opened(Path(live.name)), answers(opened(new))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(answers(model)) == 2 * len(IMAGES)
    replace(live, new)
    model.reload()
    assert same(answers(model), wanted)


def test_bytes_are_let_go_once_both_engines_are_open(live: Path) -> None:
    model = opened(live)
    assert set(model.cascade._files) == {"ee", "sac", "weights"}
    model.predict(IMAGES[0], eta=1.0)
    assert not model.cascade._files


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_mapped_and_packed_weights_are_the_same_weights(precision: str) -> None:
    packed, mapped = (
        SACViT(BEFORE, backend="onnxruntime", precision=precision, threads=1, weights=weights)
        for weights in ("packed", "mapped")
    )
    for (label, one), (other_label, other) in zip(answers(packed), answers(mapped), strict=True):
        assert label == other_label
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-3)


# --- bundles of links


@BACKENDS
@WEIGHTS
@pytest.mark.parametrize("linked", ["*", "weights.*", "*.onnx"])
def test_a_bundle_of_links(tmp_path: Path, old: Path, backend: str, weights: str, linked: str) -> None:
    """As a hub's cache keeps one: files are relative links to blobs; and the folder itself behind a link."""
    snapshot = tmp_path / "cache" / "snapshots" / "0123"
    (tmp_path / "cache" / "blobs").mkdir(parents=True)
    shutil.copytree(old, snapshot)
    for number, path in enumerate(sorted(snapshot.glob(linked))):
        path.rename(tmp_path / "cache" / "blobs" / str(number))
        path.symlink_to(Path("../../blobs") / str(number))
    (tmp_path / "link.sacvit").symlink_to(snapshot)
    wanted = answers(opened(old, backend, weights))
    for folder in (snapshot, tmp_path / "link.sacvit"):
        assert same(answers(opened(folder, backend, weights)), wanted)


# --- an ONNX file that names another file


@BACKENDS
@WEIGHTS
@pytest.mark.parametrize("role", ["ee", "sac"])
def test_other_weights_are_refused(
    live: Path, rehash: Callable[[Path], None], backend: str, weights: str, role: str
) -> None:
    shutil.copy(live / "weights.fp32.bin", live / "others.bin")
    path = live / f"{role}.fp32.onnx"
    graph = onnx.load(path, load_external_data=False)
    named = next(
        entry for tensor in graph.graph.initializer for entry in tensor.external_data if entry.key == "location"
    )
    named.value = "others.bin"
    path.write_bytes(graph.SerializeToString())
    rehash(live)
    with pytest.raises(BundleError, match=rf"{role}\.fp32\.onnx reads weights from 'others\.bin'"):
        opened(live, backend, weights).predict(IMAGES[0], eta=1.0)


# --- reload


def test_reload_answers_with_the_new_bundle(live: Path, old: Path, new: Path) -> None:
    model = opened(live)
    first, second = answers(opened(old)), answers(opened(new))
    replace(live, new)
    assert same(answers(model), first)
    model.reload()
    assert same(answers(model), second)
    assert model.labels[0] == "new 0"
    replace(live, old)
    model.reload()
    assert same(answers(model), first)


def test_a_stream_ends_with_what_it_began_with(live: Path, new: Path) -> None:
    model = opened(live)
    wanted = answers(model)[len(IMAGES) :]
    stream = model.stream(IMAGES, batch_size=1, eta=1.0, workers=1)
    found = [next(stream)]
    replace(live, new)
    model.reload()
    found += stream
    assert same([(one.label, one.probabilities.tolist()) for one in found if isinstance(one, Prediction)], wanted)


def test_a_failed_reload_leaves_what_was_opened(live: Path, old: Path) -> None:
    model = opened(live)
    before, wanted = model.opened, answers(model)
    (live / "sac.fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"sac\.fp32\.onnx has 7 bytes"):
        model.reload()
    shutil.rmtree(live)
    with pytest.raises(BundleError, match="does not exist"):
        model.reload()
    assert model.opened is before and same(answers(model), wanted)


def test_threads_answer_while_others_reload(live: Path, old: Path, new: Path) -> None:
    model, known = opened(live), [answers(opened(old)), answers(opened(new))]
    failures: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                found = one_model_answers(model)
            except SacvitError as error:
                failures.append(error)
                return
            if not any(same(found, wanted[: len(found)]) for wanted in known):
                failures.append(found)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            replace(live, (new, old)[number % 2])
            model.reload()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not failures


def one_model_answers(model: SACViT) -> list[tuple[str, list[float]]]:
    """Answers of one call, which one model gives."""
    found = model.predict_batch(IMAGES, eta=0.0)
    return [(one.label, one.probabilities.tolist()) for one in found if isinstance(one, Prediction)]


# In a process of its own, so that it gets on between any two steps of the reader.
WRITER = """
import os, shutil, sys, time
live, *bundles = sys.argv[1:]
for number in range(200):
    shutil.copytree(bundles[number % 2], live + ".copy")
    os.rename(live, live + ".gone")
    os.rename(live + ".copy", live)
    shutil.rmtree(live + ".gone")
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_two_hundred_replacements(live: Path, old: Path, new: Path) -> None:
    """Every answer is the old or the new bundle's, with reload and without; and a bundle always opens."""
    known = [answers(opened(old)), answers(opened(new))]
    kept, model = opened(live), opened(live)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(live), str(new), str(old)])
    seen = [0, 0]
    try:
        while writer.poll() is None:
            model.reload()
            for one in (model, opened(live)):
                which = [same(answers(one), wanted) for wanted in known]
                assert any(which)
                seen[which.index(True)] += 1
            assert same(answers(kept), known[0])
    finally:
        writer.kill()
        writer.wait()
    assert writer.returncode == 0
    assert min(seen) > 0
    model.reload()
    assert same(answers(model), known[0])
