"""Ray Data: folders, Parquet and arrays to label columns, with SACViT's answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy import Prediction, SACViT
from tests.data import record
from tests.jpegs_in_calls import count_calls

WHY = "NOT TESTED: Ray; `make test-serving` installs it"
ray: Any = pytest.importorskip("ray.data", reason=WHY)

from sacvit_deploy.benchmarks.load.local_ray import kill_one, processes  # noqa: E402
from sacvit_deploy.ray.data import CascadeActor, StageOneActor, StageTwoActor, classify  # noqa: E402

pytestmark = [pytest.mark.serving, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
BUNDLE = record.ROOT / "examples/int8/model.sacvit"
FOLDER = record.ROOT / "examples/pictures"
PICTURES = sorted(FOLDER.iterdir())
HOW: dict[str, Any] = {"num_cpus": 0.5, "precision": "int8", "backend": "onnxruntime"}


@pytest.fixture(scope="module")
def whole() -> SACViT:
    return SACViT(BUNDLE, precision="int8", backend="onnxruntime", threads=1)


def assert_same(rows: Sequence[Mapping[str, Any]], expected: Mapping[str, Any]) -> None:
    """Compare every row with the answer for its path, and no path comes twice."""
    assert sorted(row["path"] for row in rows) == sorted(expected)
    for row in rows:
        answer = expected[row["path"]]
        assert isinstance(answer, Prediction)
        assert row["error"] is None
        assert (row["label"], row["index"], row["stage"]) == (answer.label, answer.index, answer.stage)
        assert row["probability"] == pytest.approx(answer.probability, abs=1e-5)
        assert (row["targets"] is None) == (answer.targets is None)
        if answer.targets is not None:
            assert list(row["targets"]) == answer.targets.tolist()


def test_a_folder(whole: SACViT) -> None:
    files = ray.read_binary_files(str(FOLDER), include_paths=True)
    rows = classify(files, BUNDLE, batch_size=8, stage_two_rows=20, **HOW).take_all()
    assert_same(rows, {str(path): whole.predict(path) for path in PICTURES})
    assert sum(row["stage"] == 2 for row in rows) == 15 and "bytes" not in rows[0] and "request" not in rows[0]


def test_both_stages_in_each_actor(whole: SACViT) -> None:
    files = ray.read_binary_files(str(FOLDER), include_paths=True)
    rows = classify(files, BUNDLE, batch_size=8, stage_one_actors=2, stage_two_actors=0, **HOW).take_all()
    assert_same(rows, {str(path): whole.predict(path) for path in PICTURES})
    assert sum(row["stage"] == 2 for row in rows) == 15 and "bytes" not in rows[0]


def test_parquet_with_other_columns_and_bad_images(whole: SACViT, tmp_path: Path) -> None:
    table = [
        {"path": path.name, "photo": path.read_bytes(), "shop": number} for number, path in enumerate(PICTURES[:9])
    ]
    table[4]["photo"] = b"no picture"
    ray.from_items(table).write_parquet(str(tmp_path / "shops"))
    read = ray.read_parquet(str(tmp_path / "shops"))
    rows = classify(read, BUNDLE, column="photo", eta=0.9, alpha=0.3, **HOW).take_all()
    (bad,) = [row for row in rows if row["error"]]
    assert bad["path"] == PICTURES[4].name and bad["path"] in bad["error"] and bad["label"] is None
    known = {path.name: whole.predict(path, eta=0.9, alpha=0.3) for path in PICTURES[:9] if path != PICTURES[4]}
    assert_same([row for row in rows if not row["error"]], known)
    assert {row["path"]: row["shop"] for row in rows} == {path.name: at for at, path in enumerate(PICTURES[:9])}


def test_arrays(whole: SACViT) -> None:
    """Of one size and of several, as Ray reads them; the actors run here, as another pipeline would show no more."""
    one, two = StageOneActor(BUNDLE, precision="int8", threads=1), StageTwoActor(BUNDLE, precision="int8", threads=1)
    for size in (None, (64, 80)):
        images = ray.read_images([str(path) for path in PICTURES[1:3]], include_paths=True, size=size)
        expected = {row["path"]: whole.predict(np.asarray(row["image"])) for row in images.take_all()}
        assert_same(two(one(images.take_batch(2, batch_format="pyarrow"))).to_pylist(), expected)


def test_an_actor_killed_in_the_middle(whole: SACViT) -> None:
    """Ray starts another one, which is given the same rows again: each row has one answer."""
    rows = [{"number": number, "path": str(PICTURES[number % 40])} for number in range(400)]
    data = ray.from_items(rows, override_num_blocks=20)
    done: list[Mapping[str, Any]] = []
    killed = threading.Event()

    def kill_later() -> None:
        while len(done) < 40 or not processes("StageTwoActor"):
            time.sleep(0.02)
            if len(done) == len(rows):
                return
        kill_one("StageTwoActor")
        killed.set()

    thread = threading.Thread(target=kill_later, daemon=True)
    thread.start()
    for row in classify(data, BUNDLE, column="path", batch_size=10, stage_two_rows=20, **HOW).iter_rows():
        done.append(row)
    thread.join(60)
    assert killed.is_set()
    assert sorted(row["number"] for row in done) == list(range(len(rows)))
    known = {str(path): whole.predict(path) for path in PICTURES}
    for path in known:
        assert_same([row for row in done if row["path"] == path][:1], {path: known[path]})


def test_actors_without_ray() -> None:
    """They are plain classes on Arrow tables, which an empty one does not stop."""
    import pyarrow

    how: dict[str, Any] = {"precision": "int8", "threads": 1}
    one, two = StageOneActor(BUNDLE, eta=1.0, **how), StageTwoActor(BUNDLE, **how)
    table = pyarrow.table({"path": [str(path) for path in PICTURES[:3]]})
    between = one(table)
    assert [len(data) > 1000 for data in between["request"].to_pylist()] == [True] * 3
    assert two(between)["stage"].to_pylist() == [2, 2, 2]
    assert two(one(table.slice(0, 0))).num_rows == 0
    both = CascadeActor(BUNDLE, column="path", eta=1.0, **how)
    kept = both(table.append_column("bytes", pyarrow.nulls(3, pyarrow.binary())))
    assert kept["stage"].to_pylist() == [2, 2, 2] and "bytes" in kept.column_names
    both = CascadeActor(BUNDLE, eta=1.0, **how)
    assert both(table).equals(two(between)) and both(table.slice(0, 0)).num_rows == 0
    bad = both(pyarrow.table({"path": [str(PICTURES[0]), "nowhere.jpg"]}))
    assert [error is None for error in bad["error"].to_pylist()] == [True, False]
    with pytest.raises(ValueError, match="no column bytes or image or path among x"):
        one(pyarrow.table({"x": [1]}))


def test_an_actor_that_decodes_on_a_gpu_gives_it_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow

    sizes = count_calls(monkeypatch)
    actor = CascadeActor(BUNDLE, precision="int8", decode="gpu")
    paths = [str(path) for path in PICTURES if path.suffix == ".jpg"][:12]
    found = actor(pyarrow.table({"path": paths}))
    assert found["error"].null_count == len(paths)
    assert len(sizes) < sum(sizes) >= len(paths) - 1  # one of the pictures is in CMYK


def test_a_pipeline_that_could_never_read_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"take 2 of Ray's 2 CPUs.*num_cpus= below 1"):
        classify(ray.from_items([{"path": "a.jpg"}]), BUNDLE)
