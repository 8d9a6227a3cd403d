"""JPEGs decoded by nvImageCodec, on the processor: the same calls as on a GPU, on which none of this was run."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sacvit_deploy import ImageError, Prediction, SACViT, StageOne
from sacvit_deploy.backends.nvimgcodec import device_jpegs as module
from sacvit_deploy.backends.nvimgcodec.device_jpegs import BATCH_PIXELS, DeviceJpegs, Job, parts
from sacvit_deploy.backends.nvimgcodec.jpeg_decoder import JpegDecoder
from sacvit_deploy.backends.nvimgcodec.open_jpegs import open_jpegs
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.device.host import HostMemory
from sacvit_deploy.errors import BackendError, TooLargeError, UsageError
from sacvit_deploy.images.decode import fit_image
from sacvit_deploy.images.jpeg_header import JpegHeader
from sacvit_deploy.images.strips import ORIENTATION
from tests.data import record

pytest.importorskip("nvidia.nvimgcodec", reason="NOT TESTED: decoding by nvImageCodec; install nvidia-nvimgcodec-cu13")

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((ROOT / "examples/pictures").iterdir())
CONFIG = ModelConfig(Geometry(image_size=224, width=64, depth=2, heads=1, classes=10))
MANY = 1 << 30
WAIT = 60.0  # seconds, where none is expected


@pytest.fixture(scope="module")
def shared() -> Iterator[DeviceJpegs]:
    yield open_jpegs(CONFIG, None)


def photo(width: int, height: int, **options: object) -> bytes:
    noise = np.random.default_rng(width * height).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).save(data, "JPEG", **options)
    return data.getvalue()


def with_gpu(model: SACViT, jpegs: DeviceJpegs | None = None) -> SACViT:
    """Let a model decode by nvImageCodec; `decode="gpu"` refuses to on the processor."""
    preparer = dataclasses.replace(model.opened.preparer, jpegs=jpegs or open_jpegs(model.config, None))
    model.opened = dataclasses.replace(model.opened, preparer=preparer)
    return model


def test_the_example_pictures_are_pillows_to_the_last_bit(shared: DeviceJpegs) -> None:
    counts = {"equal": 0, "pillow's": 0}
    for path in PICTURES:
        found = shared.fit(path.read_bytes(), MANY)
        if found is None:
            counts["pillow's"] += 1
        else:
            np.testing.assert_array_equal(found, fit_image(path, 224, CONFIG.preprocessing), err_msg=path.name)
            counts["equal"] += 1
    assert counts == {"equal": 32, "pillow's": 8}  # seven PNG, and a JPEG in CMYK


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_grey_progressive_and_subsampled_ones_are(orientation: int, shared: DeviceJpegs) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"icc_profile": b"profile"}):
        data = photo(310 + orientation, 233, exif=exif, **options)
        found = shared.fit(data, MANY)
        assert found is not None
        np.testing.assert_array_equal(found, fit_image(data, 224, CONFIG.preprocessing))
    grey = io.BytesIO()
    Image.open(io.BytesIO(photo(100, 80))).convert("L").save(grey, "JPEG", exif=exif)
    found = shared.fit(grey.getvalue(), MANY)
    assert found is not None
    np.testing.assert_array_equal(found, fit_image(grey.getvalue(), 224, CONFIG.preprocessing))


def test_what_is_pillows(shared: DeviceJpegs, monkeypatch: pytest.MonkeyPatch) -> None:
    data = photo(100, 80)
    assert shared.fit(data, 8000) is not None
    assert shared.fit(data, 7999) is None  # the user's limit
    assert shared.fit(photo(2000, 100), MANY) is None  # whose ends are cut off
    assert shared.fit(data[:-100], MANY) is None
    monkeypatch.setattr(module, "MOST_PIXELS", 7999)
    assert shared.fit(data, MANY) is None
    monkeypatch.setattr(module, "LARGE", len(data) - 1)
    assert shared.fit(data, MANY) is None


def test_a_damaged_one_costs_the_others_nothing() -> None:
    """The library refuses it, in a batch with sound ones: what its answer is, Pillow says."""
    sound = photo(120, 90)
    found = JpegDecoder(None).decode([sound, sound[: len(sound) // 2], b"no JPEG", sound], None)
    assert [image is None for image in found] == [False, True, True, False]


def test_damage_inside_gives_pillows_pixels_or_none(shared: DeviceJpegs) -> None:
    """What both answer is equal. Each notices some damage that the other does not; nobody fails otherwise."""
    random = np.random.default_rng(0)
    seeds = [photo(90, 60), photo(90, 60, progressive=True, subsampling=0)]
    answered = differing = 0
    for number in range(120):
        data = bytearray(seeds[number % 2])
        for at in random.integers(2, len(data) - 2, 1 + number % 3):
            data[at] = random.integers(256)
        found = shared.fit(bytes(data), MANY)
        try:
            expected = fit_image(bytes(data), 224, CONFIG.preprocessing)
        except ImageError:
            differing += found is not None
        else:
            if found is not None:
                np.testing.assert_array_equal(found, expected)
                answered += 1
    assert answered > 60 and differing < 10


def test_many_threads(shared: DeviceJpegs) -> None:
    files = [photo(60 + 7 * number, 50 + 3 * number) for number in range(40)]
    found: dict[int, object] = {}

    def fit(number: int) -> None:
        found[number] = shared.fit(files[number], MANY)

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(len(files))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    for number, data in enumerate(files):
        np.testing.assert_array_equal(found[number], fit_image(data, 224, CONFIG.preprocessing))


def test_calls_are_bounded_by_pixels() -> None:
    big = Job(b"", JpegHeader((8192, 4096)))  # half of a call
    small = Job(b"", JpegHeader((100, 100)))
    assert big.header.size[0] * big.header.size[1] * 2 == BATCH_PIXELS
    assert [len(part) for part in parts([big, big, small, small, big, big])] == [2, 3, 1]
    assert [len(part) for part in parts([small] * 5)] == [5]
    assert list(parts([])) == []


def test_weights_are_kept_within_bounds_and_all_memory_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    memories: list[HostMemory] = []

    class Watched(HostMemory):
        def __init__(self) -> None:
            super().__init__()
            memories.append(self)

    monkeypatch.setattr("sacvit_deploy.backends.nvimgcodec.open_jpegs.HostMemory", Watched)
    monkeypatch.setattr(module, "KEPT", 1 << 20)
    jpegs = open_jpegs(CONFIG, None)
    threads = threading.active_count()
    for number in range(12):
        data = photo(200 + number, 150)  # 300 kB of weights
        np.testing.assert_array_equal(jpegs.fit(data, MANY), fit_image(data, 224, CONFIG.preprocessing))
        assert len(memories[0]._kept) <= 1 + 4 * 4  # and the batch's own
    del jpegs
    gc.collect()
    for _ in range(600):
        if threading.active_count() < threads:
            break
        threading.Event().wait(0.1)
    assert threading.active_count() < threads and memories[0]._kept == {}


def test_sizes_without_weights_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    benches: list[module.Workbench] = []

    class Watched(module.Workbench):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            benches.append(self)

    monkeypatch.setattr(module, "Workbench", Watched)
    jpegs = open_jpegs(CONFIG, None)
    (bench,) = benches
    known = list(bench._weights)  # the trials'
    for width in range(1000, 1005):
        assert jpegs.fit(photo(width, 40), MANY) is None  # whose ends are cut off first
        assert list(bench._weights) == known
    assert jpegs.fit(photo(100, 80), MANY) is not None and len(bench._weights) == len(known) + 1


def test_an_error_of_the_device_is_the_images_and_the_next_one_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    jpegs = open_jpegs(CONFIG, None)
    with monkeypatch.context() as patched:
        patched.setattr(HostMemory, "download", lambda *arguments: (_ for _ in ()).throw(BackendError("out of memory")))
        with pytest.raises(BackendError, match="out of memory"):
            jpegs.fit(photo(100, 80), MANY)
    assert jpegs.fit(photo(100, 80), MANY) is not None


def test_every_image_of_a_failing_call_has_an_error_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(photo(100 + number, 80))
    model, sizes = with_gpu(SACViT(BUNDLE, threads=1)), []
    decode = JpegDecoder.decode

    def counted(self: JpegDecoder, files: list[bytes], stream: object) -> object:
        sizes.append(len(files))
        time.sleep(0.1)  # the others come meanwhile
        return decode(self, files, stream)  # type: ignore[arg-type]

    monkeypatch.setattr(JpegDecoder, "decode", counted)
    monkeypatch.setattr(HostMemory, "download", lambda *arguments: (_ for _ in ()).throw(BackendError("out of memory")))
    found = model.predict_batch(paths)
    assert sum(sizes) == 12 and len(set(map(id, found))) == 12
    for number, (path, error) in enumerate(zip(paths, found, strict=True)):
        assert isinstance(error, BackendError)
        assert str(error) == f"{path}: out of memory" and error.position == number


def test_a_stream_answers_as_without_it(tmp_path: Path) -> None:
    """Example pictures of all kinds, a damaged one, a text and a path that isn't there, in order, several batches."""
    cut, text = tmp_path / "cut.jpg", tmp_path / "text.jpg"
    cut.write_bytes(PICTURES[1].read_bytes()[:-2000])
    text.write_text("no picture")
    sources = [*PICTURES[:3], cut, PICTURES[11].read_bytes(), text, tmp_path / "none.jpg", PICTURES[13]]
    sources += [np.zeros((30, 40, 3), np.uint8), Image.new("RGB", (50, 60))]
    plain, other = SACViT(BUNDLE, threads=1), with_gpu(SACViT(BUNDLE, threads=1))
    for options in ({"batch_size": 4}, {"workers": 1}, {"batch_size": 3, "max_delay": 0.0}):
        expected = list(plain.stream([*sources, io.BytesIO(PICTURES[1].read_bytes())], **options))
        found = list(other.stream([*sources, io.BytesIO(PICTURES[1].read_bytes())], **options))
        assert sum(isinstance(answer, ImageError) for answer in expected) == 3
        for one, two in zip(found, expected, strict=True):
            assert type(one) is type(two) and one.position == two.position
            if isinstance(one, Prediction) and isinstance(two, Prediction):
                assert (one.source, one.label, one.stage) == (two.source, two.label, two.stage)
                np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-5)  # as batches may differ
            else:
                assert str(one) == str(two)
    assert "decode" in other.predict(PICTURES[1]).timing


def test_limits_hold_and_files_are_accounted_for() -> None:
    model = with_gpu(SACViT(BUNDLE, threads=1, max_pixels=1000, max_memory=64))
    with pytest.raises(TooLargeError, match="over the limit of 1,000"):
        model.predict(PICTURES[1])
    budget, taken = model.opened.preparer.bounds.memory, []
    jpegs = model.opened.preparer.jpegs
    assert jpegs is not None
    fit = jpegs.fit
    jpegs.fit = lambda data, most: taken.append(budget._used - len(data)) or fit(data, most)  # type: ignore
    with pytest.raises(TooLargeError):
        model.predict(PICTURES[1])
    assert taken == [0] and budget._used == 0


def test_stage_one_by_itself() -> None:
    one, expected = StageOne(BUNDLE, threads=1), StageOne(BUNDLE, threads=1)
    preparer = dataclasses.replace(one.opened.preparer, jpegs=open_jpegs(one.config, None))
    one._opened = dataclasses.replace(one.opened, preparer=preparer)
    assert preparer.workers >= 64
    for found, plain in zip(one.prepare_batch(PICTURES[:9]), expected.prepare_batch(PICTURES[:9]), strict=True):
        np.testing.assert_array_equal(found.pixels, plain.pixels)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_is_refused() -> None:
    program = """
import os, sys
from pathlib import Path
from sacvit_deploy.config import Geometry, ModelConfig
from sacvit_deploy.backends.nvimgcodec.open_jpegs import open_jpegs
jpegs = open_jpegs(ModelConfig(Geometry(image_size=224, width=64, depth=2, heads=1, classes=10)), None)
data = Path(sys.argv[1]).read_bytes()
assert jpegs.fit(data, 1 << 30) is not None
child = os.fork()
if not child:
    try:
        jpegs.fit(data, 1 << 30)
    except Exception as error:
        os._exit(7 if "before the process was forked" in str(error) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert jpegs.fit(data, 1 << 30) is not None
"""
    done = subprocess.run([sys.executable, "-c", program, PICTURES[1]], capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # the library's lines about other formats


def test_a_device_that_decodes_nothing_or_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = JpegDecoder.decode
    with monkeypatch.context() as patched:
        patched.setattr(JpegDecoder, "decode", lambda self, files, stream: [None] * len(files))
        with pytest.raises(BackendError, match=r"decodes no JPEG .* pip install 'sacvit-deploy\[gpu,nvjpeg\]'"):
            open_jpegs(CONFIG, None)

    def darker(self: JpegDecoder, files: list[bytes], stream: object) -> object:
        found = decode(self, files, stream)
        for image in found:
            assert image is not None
            np.asarray(image.owner)[:] //= 2
        return found

    monkeypatch.setattr(JpegDecoder, "decode", darker)
    with pytest.raises(BackendError, match="pixels are up to .* decode on the CPU"):
        open_jpegs(CONFIG, None)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="decode is 'nvjpeg'; it must be one of cpu, gpu"):
        SACViT(record.BEFORE, decode="nvjpeg")
    with pytest.raises(UsageError, match=r"--scaled \(scaled=\) decodes on the CPU"):
        SACViT(record.BEFORE, decode="gpu", scaled=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "nvidia"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(BackendError, match=r"install it with: pip install 'sacvit-deploy\[gpu,nvjpeg\]'"):
        SACViT(record.BEFORE, decode="gpu")
