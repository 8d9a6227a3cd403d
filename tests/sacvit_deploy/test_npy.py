"""Golden vectors of anybody's: what they say of themselves is compared with the model before memory is taken."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.errors import BundleError
from sacvit_deploy.verification.golden import load_golden
from tests.data import record

CONFIG = open_bundle(record.BEFORE).manifest.config


def arrays() -> dict[str, Any]:
    with np.load(record.BEFORE / "golden.npz") as data:
        return dict(data)


def refusal(path: Path) -> str:
    with pytest.raises(BundleError, match="holds no golden vectors") as said:
        load_golden(path, CONFIG)
    message = str(said.value)
    assert "\n" not in message and len(message) < 400
    return message


def written(header: str, data: bytes = b"") -> bytes:
    """A .npy file whose header is any text."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def replaced(path: Path, name: str, content: bytes) -> Path:
    """Write the recorded vectors with one member replaced."""
    with zipfile.ZipFile(record.BEFORE / "golden.npz") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, content if entry == f"{name}.npy" else old.read(entry))
    return path


def header(shape: str, descr: str = "|u1") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


def test_recorded_vectors_are_read(tmp_path: Path) -> None:
    golden = load_golden(record.BEFORE / "golden.npz", CONFIG)
    assert golden.images.shape == (4, 64, 64, 3)
    np.savez(tmp_path / "by_numpy.npz", **arrays())
    np.testing.assert_array_equal(load_golden(tmp_path / "by_numpy.npz", CONFIG).images, golden.images)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("images", written(header("(1000000, 64, 64, 3)"))),
        ("images", written(header("(4, 100000, 100000, 3)"))),
        ("images", written(header("(4, 64, 64, 3)", "<f8"))),
        ("images", written(header("(-4, 64, 64, 3)"))),
        ("images", written(header("(True, 64, 64, 3)"))),
        ("images", written(header("(4, 64, 64, 3)"), bytes(100))),
        ("images", written(header("(4, 64, 64, 3)"), bytes(4 * 64 * 64 * 3 + 1))),
        ("images", written(header("(4, 64, 64, 3)").replace("False", "True"), bytes(4 * 64 * 64 * 3))),
        ("images", written("(" * 2000)),
        ("images", written("{" * 60000)),
        ("images", written("{}")),
        ("images", b""),
        ("ee_logits", written(header("(4, 1000000000000)", "<f4"))),
        ("ee_logits", written(header("(4, 9)", "<f4"), bytes(4 * 9 * 4))),
        ("ee_logits", written(header("(4, 10)", "<f4"), np.full(40, np.nan, "f4").tobytes())),
        ("alphas", written(header("(1000000,)", "<f8"))),
        ("alphas", written(header("(3,)", "<f8"), np.array([0.3, 7.0, np.nan]).tobytes())),
        ("alphas", written(header("(0,)", "<f8"))),
        ("kinds", written(header("(4,)", "<U1000000000"))),
        ("kinds", written(header("(4,)", "<U6"), b"\xff" * 96)),
        ("kinds", written(header("(4,)", "|O"), b"cos\nsystem\n")),
        ("targets_0", written(header("(4, 4)", "<i8"), np.full(16, 16, "i8").tobytes())),
        ("targets_0", written(header("(4, 4)", "<i8"), np.full(16, -1, "i8").tobytes())),
    ],
)
def test_members_that_are_not_what_the_model_has(name: str, content: bytes, tmp_path: Path) -> None:
    tracemalloc.start()
    refusal(replaced(tmp_path / "forged.npz", name, content))
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def test_a_member_that_unfolds_to_gigabytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays().items():
            if name != "images":
                buffer = io.BytesIO()
                np.save(buffer, array)
                archive.writestr(f"{name}.npy", buffer.getvalue())
        with archive.open("images.npy", "w") as file:
            file.write(written(header("(4, 64, 64, 3)")))
            for _ in range(200):
                file.write(bytes(1 << 20))
    tracemalloc.start()
    assert "another length" in refusal(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions(kind: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.npz", "w", kind) as archive:
        archive.writestr("images.npy", b"")
    assert "compressed in a way" in refusal(tmp_path / "other.npz")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as archive, pytest.warns(UserWarning):
        archive.writestr("images.npy", b"a")
        archive.writestr("images.npy", b"b")
    assert "two files of one name" in refusal(tmp_path / "two.npz")
