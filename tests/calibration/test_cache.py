"""Calibration results kept in a file: read back unchanged, or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sacvit_deploy.calibration.cache import CalibrationResult, load_cache, save_cache

KEY = "5" * 64
SMOOTHING = {
    "blocks.0.attn.qkv": np.linspace(0.1, 9, 64, dtype=np.float32),
    "reuse_block.1.fc1": np.geomspace(1e-3, 1e3, 64).astype(np.float32),
}
RANGES = {
    "ee": {"patch_embed.proj": 2.5, "blocks.0.attn.qkv": 0.1, "head": 3e-7},
    "sac": {"patch_embed.proj": 2.25, "blocks.0.attn.qkv": 1 / 3},
}
SENSITIVITY = {"head": 1e-4, "patch_embed.proj": 0.0, "blocks.0.attn.qkv": 7.5}


def saved(path: Path) -> bytes:
    save_cache(path, CalibrationResult(SMOOTHING, RANGES, SENSITIVITY, KEY))
    return path.read_bytes()


def assert_whole(path: Path) -> None:
    loaded = load_cache(path, KEY)
    assert loaded is not None
    assert list(loaded.smoothing) == list(SMOOTHING) and loaded.key == KEY
    assert all(np.array_equal(loaded.smoothing[layer], SMOOTHING[layer]) for layer in SMOOTHING)
    assert loaded.ranges == RANGES and loaded.sensitivity == SENSITIVITY
    assert list(loaded.sensitivity) == list(SENSITIVITY)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved(tmp_path / "ranges.npz")
    assert_whole(tmp_path / "ranges.npz")


def test_without_smoothing(tmp_path: Path) -> None:
    unsmoothed = CalibrationResult({}, RANGES, SENSITIVITY, KEY)
    save_cache(tmp_path / "ranges.npz", unsmoothed)
    assert load_cache(tmp_path / "ranges.npz", KEY) == unsmoothed


def test_equal_ranges_give_equal_bytes(tmp_path: Path) -> None:
    assert saved(tmp_path / "one.npz") == saved(tmp_path / "other.npz")


def test_another_key(tmp_path: Path) -> None:
    saved(tmp_path / "ranges.npz")
    for key in ("6" * 64, "", KEY[:-1], KEY + "0"):
        assert load_cache(tmp_path / "ranges.npz", key) is None


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "ranges.npz"
    whole = saved(path)
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        assert load_cache(path, KEY) is None


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=400)
def test_a_damaged_file(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "ranges.npz"
    damaged = bytearray(saved(path))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    # A flipped bit may meet a time stamp; what it must not do is change a number, or raise.
    if load_cache(path, KEY) is not None:
        assert_whole(path)


def test_what_is_no_cache(tmp_path: Path) -> None:
    path = tmp_path / "ranges.npz"
    assert load_cache(path, KEY) is None
    path.mkdir()
    assert load_cache(path, KEY) is None
    path.rmdir()
    for content in (b"", b"no zip", b"PK\x03\x04", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        assert load_cache(path, KEY) is None
    with path.open("wb") as file:
        np.save(file, np.ones(4))  # an array, and no archive of them
    assert load_cache(path, KEY) is None
    np.savez(path, key=np.array(KEY))
    assert load_cache(path, KEY) is None


@pytest.mark.parametrize(
    "name",
    ["key", "roles", "smoothed", "damage", "damage/layers", "ranges/sac", "layers/ee", "smoothing/reuse_block.1.fc1"],
)
def test_an_archive_that_lacks_an_array(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ranges.npz"
    saved(path)
    with zipfile.ZipFile(path) as old:
        arrays = {entry: old.read(entry) for entry in old.namelist()}
    del arrays[f"{name}.npy"]
    with zipfile.ZipFile(path, "w") as new:
        for entry, content in arrays.items():
            new.writestr(entry, content)
    assert load_cache(path, KEY) is None


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "ranges.npz"
    np.savez(path, key=np.array([KEY, {}], dtype=object))
    assert load_cache(path, KEY) is None
