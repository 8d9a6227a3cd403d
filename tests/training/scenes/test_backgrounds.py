"""Backgrounds: which files are usable, under which licence, and that no family is in both splits."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sacvit_deploy.training.scenes.backgrounds import (
    SPLITS,
    UNKNOWN,
    Background,
    crop,
    family_of,
    is_usable,
    read_backgrounds,
    read_copyright,
    split_of,
    without_duplicates,
)


def _write_image(path: Path, size: tuple[int, int] = (300, 260), flat: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32("/".join(path.parts[-2:]).encode())
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels // 100 if flat else pixels).save(path)


@pytest.fixture
def assets(tmp_path: Path, copyright_text: str) -> Path:
    root = tmp_path / "assets"
    for number in range(24):
        for variant in "ab":
            _write_image(root / f"backgrounds/textures/tex_{number}/wall0{variant}.png")
    for name in ("free01", "free02", "bound01", "unknown01"):
        _write_image(root / f"backgrounds/textures/tex_a/{name}.png")
    (root / "textures-copyright").write_text(copyright_text)
    return root


def test_splits_share_no_image_and_no_family(assets: Path) -> None:
    train, test = (tuple(read_backgrounds(assets, split)) for split in SPLITS)
    assert train and test
    assert len(train) + len(test) == 52
    assert not {family_of(Path(b.name)) for b in train} & {family_of(Path(b.name)) for b in test}
    assert not {b.pixels.tobytes() for b in train} & {b.pixels.tobytes() for b in test}


names = st.text(st.sampled_from("abcxyz_-"), min_size=1, max_size=8).filter(lambda s: s.strip("_-") != "")


@settings(deadline=None)  # a busy machine is slow without being wrong
@given(group=names, name=names, first=st.integers(0, 99), second=st.integers(0, 99), tail=names)
def test_variants_of_an_image_are_in_the_same_split(group: str, name: str, first: int, second: int, tail: str) -> None:
    one = family_of(Path("textures", group, f"{name}{first:02d}.png"))
    other = family_of(Path("textures", group, f"{name}{second:02d}{tail}.jpg"))
    assert one == other
    assert split_of(one) == split_of(other)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_versions_of_a_wallpaper_are_one_family(name: str) -> None:
    name = name.replace("/", "_").replace("\0", "_").strip(".") or "x"
    files = ("contents/images/5120x2880.png", "contents/images_dark/1080x1920.png")
    assert len({family_of(Path("wallpapers", name, file)) for file in files}) == 1


def test_about_a_fifth_of_the_families_is_for_testing() -> None:
    share = sum(split_of(f"textures/{i}") == "test" for i in range(5000)) / 5000
    assert 0.18 < share < 0.22


def test_maps_thumbnails_flat_and_tiny_images_are_not_used(tmp_path: Path) -> None:
    assert not any(is_usable(Path(f"a/b_{kind}.png")) for kind in ("nm", "sm", "gm", "glow"))
    assert not is_usable(Path("Altai/contents/screenshot.png")) and not is_usable(Path("a/readme.txt"))
    assert is_usable(Path("a/wall.png"))
    _write_image(tmp_path / "backgrounds/textures/t/small.png", size=(255, 400))
    _write_image(tmp_path / "backgrounds/textures/t/flat.png", flat=True)
    _write_image(tmp_path / "backgrounds/textures/t/good.png")
    names = [b.name for split in SPLITS for b in read_backgrounds(tmp_path, split)]
    assert names == ["textures/t/good.png"]


def test_backgrounds_carry_their_licence(assets: Path) -> None:
    licences = {Path(b.name).stem: b.licence for split in SPLITS for b in read_backgrounds(assets, split)}
    assert {name for name, licence in licences.items() if licence.shippable} == {"free01", "free02"}
    assert licences["unknown01"] == UNKNOWN


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(224, 224), (640, 480), (200, 900)]))
def test_crop_has_the_canvas_shape_for_any_image(seed: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(40, 400, 2))
    source = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert crop(source, *size, rng).shape == (size[1], size[0], 3)


def test_test_images_that_look_like_a_training_image_are_left_out() -> None:
    rng = np.random.default_rng(0)
    first, second, third = (rng.integers(40, 200, (48, 48, 3), dtype=np.uint8) for _ in range(3))
    large = [
        np.asarray(Image.fromarray(p).resize((300, 300), Image.Resampling.NEAREST)) for p in (first, second, third)
    ]
    recoloured = (large[0] * np.array([0.7, 0.8, 0.6]) + 20).astype(np.uint8)
    flat = np.full((300, 300, 3), 90, np.uint8)
    kept = [Background(n, p) for n, p in (("copy", recoloured), ("new", large[1]), ("flat", flat))]
    against = [Background(n, p) for n, p in (("origin", large[0]), ("other", large[2]), ("plain", flat))]
    assert [b.name for b in without_duplicates(kept, against)] == ["new", "flat"]
    assert [b.name for b in without_duplicates(kept, [])] == ["copy", "new", "flat"]


def test_licences_name_files_and_authors_and_ignore_patterns(tmp_path: Path, copyright_text: str) -> None:
    (tmp_path / "copyright").write_text(copyright_text)
    licences = read_copyright(tmp_path / "copyright")
    free = licences["base/textures/tex_a/free01.png"]
    assert (free.name, free.authors, free.shippable) == ("CC-BY-3.0", ("Ada Lovelace", "Charles Babbage"), True)
    assert not licences["base/textures/tex_a/bound01.png"].shippable
    assert "*" not in licences and len(licences) == 3
