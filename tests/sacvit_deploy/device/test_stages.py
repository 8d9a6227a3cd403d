"""The device's order of work, with real engines on the processor: what comes out is what the plain runtime gives."""

from __future__ import annotations

import dataclasses
import gc
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit_deploy import ImageError, Prediction, SACViT, UsageError
from sacvit_deploy.arrays import Pixels
from sacvit_deploy.backends.onnxruntime.device import OnnxRuntimeDevice
from sacvit_deploy.backends.onnxruntime.session import SessionFactory
from sacvit_deploy.backends.open import open_backend
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.errors import BackendError
from sacvit_deploy.images.scaled import InputImage
from sacvit_deploy.stages.device import DeviceStages

from .late import LateDevice, Queue, put_on

Speeds = tuple[bool, bool, bool]  # of stage 1, of stage 2, of uploads: is its work done at once?
SPEEDS: list[Speeds] = [
    (True, True, True),
    (False, False, False),
    (True, False, False),
    (False, True, True),
    (False, False, True),
]


@pytest.fixture
def on_device(tiny_bundle: Path) -> Iterator[SACViT]:
    """A model whose stages run on ONNX Runtime's device path, on the processor."""
    model = SACViT(tiny_bundle, precision="fp32", threads=1)
    files = model.bundle.checked_files("fp32")
    put_on(model, OnnxRuntimeDevice(SessionFactory(1), files))
    yield model


def equal(found: list[Prediction], expected: list[Prediction]) -> None:
    """The same answers to the last bit."""
    for one, other in zip(found, expected, strict=True):
        assert (one.source, one.stage, one.label) == (other.source, other.stage, other.label)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        assert (one.targets is None) == (other.targets is None)
        if one.targets is not None:
            np.testing.assert_array_equal(one.targets, other.targets)


def answers(model: SACViT, sources: list[Path], **options: object) -> list[Prediction]:
    found = list(model.stream(sources, **options))  # type: ignore[arg-type]
    assert all(isinstance(one, Prediction) for one in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("speeds", SPEEDS)
def test_answers_equal_the_plain_runtimes(
    speeds: Speeds, precision: str, tiny_bundle: Path, image_paths: list[Path]
) -> None:
    """Some, none and all continue; queues overflow into the next; alpha changes between calls."""
    plain = SACViT(tiny_bundle, precision=precision, threads=1)
    late = SACViT(tiny_bundle, precision=precision, threads=1)
    put_on(late, LateDevice(late.bundle.checked_files(precision), speeds))
    sources = image_paths * 3
    for batch_size, eta, alpha in ((1, None, None), (4, None, 0.7), (5, 0.9, None), (3, 1.0, 0.3), (4, 0.0, None)):
        options = {"batch_size": batch_size, "eta": eta, "alpha": alpha}
        equal(answers(late, sources, **options), answers(plain, sources, **options))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.lists(st.integers(0, 6), min_size=1, max_size=14),
    batch_size=st.integers(1, 6),
    eta=st.sampled_from([0.6, 0.8, 0.95]),
    speeds=st.sampled_from(SPEEDS),
)
def test_any_mix(
    model: SACViT,
    image_paths: list[Path],
    order: list[int],
    batch_size: int,
    eta: float,
    speeds: Speeds,
) -> None:
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    put_on(late, LateDevice(late.bundle.checked_files("fp32"), speeds))
    sources = [image_paths[at] for at in order]
    options = {"batch_size": batch_size, "eta": eta}
    equal(answers(late, sources, **options), answers(model, sources, **options))


@pytest.mark.parametrize("speeds", SPEEDS)
def test_what_is_left_behind_a_batch_keeps_its_order(speeds: Speeds, model: SACViT, image_paths: list[Path]) -> None:
    """Two of three images continue, in batches of four: each batch of stage 2 leaves some of the next behind."""
    ranked = sorted(image_paths, key=lambda path: model.predict(path).stage_one_probability)
    eta = float(np.mean([model.predict(path).stage_one_probability for path in ranked[3:5]]))
    surest, others = ranked[-1], ranked[:4]
    sources = [surest, *others[:3], others[3], surest, *others[:2], *others[2:], *others[:2], surest, *others[1:]]
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    device = LateDevice(late.bundle.checked_files("fp32"), speeds)
    put_on(late, device)
    expected = answers(model, sources, batch_size=4, eta=eta)
    equal(answers(late, sources, batch_size=4, eta=eta), expected)
    assert device.sizes["gather"] == [3, 3, 4, 3] and device.sizes["sac"] == [4, 4, 4, 1]
    assert len({one.targets.tobytes() for one in expected if one.targets is not None}) > 1


def test_a_devices_confidence_decides_as_the_host_does(tiny_bundle: Path, image_paths: list[Path]) -> None:
    """With the engines that give one, and with every image's own probability as eta: the nearest that can be."""
    plain, late = (SACViT(tiny_bundle, precision="fp16", threads=1) for _ in range(2))
    files = plain.bundle.checked_files("fp16", for_gpu=True)
    plain.opened = dataclasses.replace(plain.opened, on_host=Cascade(plain.backend, files, plain.config))
    device = LateDevice(files, (True, False, True))
    assert "confidence" in device.engine("ee", Queue(True)).outputs
    put_on(late, device)
    etas = [one.stage_one_probability for one in answers(plain, image_paths, batch_size=3)]
    assert len(set(etas)) == 7
    for eta in etas:
        found, expected = (answers(one, image_paths, batch_size=3, eta=eta) for one in (late, plain))
        equal(found, expected)
        for one, other in zip(found, expected, strict=True):
            assert one.stage_one_probability == pytest.approx(other.stage_one_probability, abs=1e-6)
            assert one.probability == pytest.approx(other.probability, abs=1e-6)
        assert expected[etas.index(eta)].stage == 2


@pytest.mark.parametrize("speeds", SPEEDS)
def test_images_go_up_from_where_threads_decoded_them(
    speeds: Speeds,
    model: SACViT,
    image_paths: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole batches do, in memory that is used again while others are under way; what has a hole is copied."""
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    put_on(late, LateDevice(late.bundle.checked_files("fp32"), speeds))
    copied: list[int] = []
    stacked = DeviceStages._stacked

    def counting(stages: DeviceStages, images: Sequence[InputImage], slot: int, rows: int) -> Pixels:
        copied.append(len(images))
        return stacked(stages, images, slot, rows)

    monkeypatch.setattr(DeviceStages, "_stacked", counting)
    sources = [image_paths[at % 7] for at in np.random.default_rng(0).permutation(28)]
    equal(answers(late, sources, batch_size=3, workers=3), answers(model, sources, batch_size=3))
    assert copied == []
    options = {"batch_size": 3, "eta": 0.9, "workers": 3}
    found, expected = (list(m.stream([*sources[:4], bad, *sources[4:]], **options)) for m in (late, model))  # type: ignore[arg-type]
    assert isinstance(found.pop(4), ImageError) and isinstance(expected.pop(4), ImageError)
    equal(found, expected)  # type: ignore[arg-type]
    assert copied == [2]
    equal(answers(late, sources, batch_size=3, workers=1), answers(model, sources, batch_size=3))
    assert sum(copied) == 2 + 28


def test_what_a_left_streams_threads_may_write_into_is_used_no_more(
    on_device: SACViT, model: SACViT, image_paths: list[Path]
) -> None:
    assert on_device.pool is not None
    expected = answers(model, image_paths, batch_size=2)
    equal(answers(on_device, image_paths, batch_size=2, workers=2), expected)
    (context,) = on_device.pool._idle
    stream = on_device.stream(image_paths * 4, batch_size=2, workers=2)
    next(stream)
    before = list(context._pinned.values())
    stream.close()  # type: ignore[attr-defined]
    assert on_device.pool._idle == [context] and before and context._pinned == {}
    equal(answers(on_device, image_paths, batch_size=2, workers=2), expected)
    assert not any(one is other for one in before for other in context._pinned.values())


@pytest.mark.parametrize("count", [2, 3])
def test_several_devices_take_batches_in_turn(
    count: int, model: SACViT, image_paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each at a speed of its own; answers come in order, and images go up from where they were decoded."""
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    devices = [LateDevice(late.bundle.checked_files("fp32"), SPEEDS[number]) for number in range(count)]
    put_on(late, *devices)
    monkeypatch.setattr(DeviceStages, "_stacked", None)  # nothing is copied
    sources = [image_paths[at % 7] for at in np.random.default_rng(1).permutation(28)]
    for eta, alpha in ((0.6, None), (1.0, 0.3)):
        options = {"eta": eta, "alpha": alpha, "workers": 2}
        expected = answers(model, sources, batch_size=2, **options)
        equal(answers(late, sources, batch_size=2, **options), expected)
    calls = [len(device.sizes["ee"]) for device in devices]
    assert sum(calls) == 28 and max(calls) - min(calls) <= 2
    monkeypatch.undo()
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    found = list(late.stream([bad, *sources, bad], batch_size=1, workers=2))
    assert isinstance(found.pop(0), ImageError) and isinstance(found.pop(), ImageError)
    equal(found, answers(model, sources))  # type: ignore[arg-type]
    stream = late.stream(sources, batch_size=2)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert [pool.lent for pool in late.opened.pools] == [0] * count


def test_single_images_spread_over_the_devices(model: SACViT, image_paths: list[Path]) -> None:
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    devices = [LateDevice(late.bundle.checked_files("fp32"), SPEEDS[0]) for _ in range(2)]
    put_on(late, *devices)
    with late.opened.pools[0].stages(3, 1):  # somebody else uses the first
        equal([late.predict(image_paths[4])], [model.predict(image_paths[4])])
    assert [device.sizes.get("ee") for device in devices] == [None, [1]]


def test_warming_runs_both_stages_of_every_device(model: SACViT) -> None:
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    devices = [LateDevice(late.bundle.checked_files("fp32"), SPEEDS[0]) for _ in range(2)]
    put_on(late, *devices)
    late.warm(2, alpha=0.3)
    assert [device.sizes for device in devices] == [{role: [2] * 6 for role in ("view", "ee", "gather", "sac")}] * 2


def test_no_more_goes_up_than_the_pictures_and_indices(tiny_bundle: Path, image_paths: list[Path]) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1)
    device = LateDevice(model.bundle.checked_files("fp32"), (True, True, True))
    put_on(model, device)
    answers(model, image_paths, batch_size=7, eta=1.0)
    pictures, indices = 7 * 224 * 224 * 3, 8 * (7 + 49)
    assert device.memory.uploaded == pictures + indices  # type: ignore[attr-defined]


def test_whole_batches_reach_stage_two(tiny_bundle: Path, easy: Path, hard: Path) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1)
    device = LateDevice(model.bundle.checked_files("fp32"), (False, False, False))
    put_on(model, device)
    answers(model, [easy, hard, easy, easy] * 7, batch_size=4)
    assert device.sizes == {"view": [4] * 7, "ee": [4] * 7, "gather": [1] * 7, "sac": [4, 3]}


def test_bad_pictures_cost_only_themselves(on_device: SACViT, image_paths: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    found = list(on_device.stream([image_paths[0], bad, *image_paths[1:]], batch_size=3))
    assert isinstance(found[1], ImageError)
    assert all(isinstance(one, Prediction) for at, one in enumerate(found) if at != 1)


def test_a_context_is_used_again_and_dropped_after_an_error(on_device: SACViT, image_paths: list[Path]) -> None:
    assert on_device.pool is not None
    first = answers(on_device, image_paths, batch_size=4)
    engine_set = on_device.pool._idle[0]
    equal(answers(on_device, image_paths, batch_size=4), first)
    assert on_device.pool._idle == [engine_set]

    def broken(*_: object) -> None:
        raise BackendError("out of memory")

    engine_set.memory.copy = broken  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="out of memory"):
        answers(on_device, image_paths, batch_size=4, eta=1.0)
    assert on_device.pool._idle == []
    del engine_set.memory.copy
    equal(answers(on_device, image_paths, batch_size=4), first)


def test_an_abandoned_stream_keeps_the_engines(on_device: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    assert on_device.pool is not None
    on_device.pool.warm()
    engine = on_device.pool._engine_sets[0].engine("ee")
    stream = on_device.stream(image_paths * 4, batch_size=2)
    next(stream)
    stream.close()
    assert on_device.pool._engine_sets[0].engine("ee") is engine
    assert [engine_set.users for engine_set in on_device.pool._engine_sets] == [0]
    equal(answers(on_device, image_paths, batch_size=4), answers(model, image_paths, batch_size=4))


@pytest.mark.parametrize("speeds", SPEEDS)
def test_predict_inside_a_stream(speeds: Speeds, model: SACViT, image_paths: list[Path]) -> None:
    """Found by trying: it waited for ever for the context that the suspended stream held."""
    late = SACViT(model.bundle.path, precision="fp32", threads=1)
    put_on(late, LateDevice(late.bundle.checked_files("fp32"), speeds))
    found, inside = [], []
    for answer in late.stream(image_paths, batch_size=2):
        found.append(answer)
        inside.append(late.predict(image_paths[3]))
    equal(found, answers(model, image_paths, batch_size=2))  # type: ignore[arg-type]
    equal(inside, [model.predict(image_paths[3])] * len(inside))


def test_many_suspended_streams_share_an_engine_set(on_device: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    streams = [on_device.stream(image_paths, batch_size=2) for _ in range(6)]
    found = [list(one) for one in zip(*streams, strict=True)]
    for one, expected in zip(found, answers(model, image_paths, batch_size=2), strict=True):
        equal(one, [expected] * 6)  # type: ignore[arg-type]
    assert on_device.pool is not None
    assert len(on_device.pool._engine_sets) == 1 and len(on_device.pool._idle) == 4


def test_memory_goes_with_the_model(tiny_bundle: Path, image_paths: list[Path]) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1)
    device = OnnxRuntimeDevice(SessionFactory(1), model.bundle.checked_files("fp32"))
    put_on(model, device)
    answers(model, image_paths, batch_size=4)
    assert isinstance(device.memory, HostMemory) and device.memory._kept
    del model
    gc.collect()
    assert device.memory._kept == {}


def test_threads_share_the_one_engine_set(on_device: SACViT, model: SACViT, image_paths: list[Path]) -> None:
    expected = answers(model, image_paths, batch_size=3)
    found: list[list[Prediction]] = []
    threads = [
        threading.Thread(target=lambda: found.append(answers(on_device, image_paths, batch_size=3))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for one in found:
        equal(one, expected)


def test_more_than_the_plans_take_is_refused(tiny_bundle: Path, image_paths: list[Path]) -> None:
    model = SACViT(tiny_bundle, precision="fp32", threads=1)
    put_on(model, LateDevice(model.bundle.checked_files("fp32"), (True, True, True), max_batch=4))
    with pytest.raises(UsageError, match="up to 4 images a call, not 5"):
        model.stream(image_paths, batch_size=5)
    assert len(answers(model, image_paths, batch_size=4)) == 7


def test_the_processor_gets_no_device(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert open_backend(threads=1).device(bundle.checked_files("fp32")) is None
    assert SACViT(tiny_bundle, precision="fp32").pool is None
