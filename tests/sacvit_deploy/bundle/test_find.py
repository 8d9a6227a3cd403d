"""Finding the bundle when none is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sacvit_deploy import BundleError, SACViT
from sacvit_deploy.bundle.find import VARIABLE, find_bundle


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """here/, album/pictures/ and elsewhere/, without bundles; here/ is the current folder."""
    for name in ("here", "album/pictures", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_nearest_bundle_is_found(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = places / "album" / "pictures" / "a.jpg"
    with pytest.raises(BundleError, match=r"no \*\.sacvit bundle.*--bundle.*SACVIT_BUNDLE"):
        find_bundle([image])
    (places / "album" / "above.sacvit").mkdir()
    assert find_bundle([image]) == places / "album" / "above.sacvit"
    (places / "album" / "pictures" / "beside.sacvit").mkdir()
    assert find_bundle([image]) == places / "album" / "pictures" / "beside.sacvit"
    assert find_bundle([image.parent]) == places / "album" / "pictures" / "beside.sacvit"
    (places / "here" / "current.sacvit").mkdir()
    assert find_bundle([image]) == Path("current.sacvit")
    monkeypatch.setenv(VARIABLE, str(places / "elsewhere" / "named.sacvit"))
    assert find_bundle([image]) == places / "elsewhere" / "named.sacvit"


def test_several_bundles_in_one_place(places: Path) -> None:
    for name in ("b.sacvit", "a.sacvit"):
        (places / "here" / name).mkdir()
    with pytest.raises(BundleError, match=r"several bundles \(a\.sacvit, b\.sacvit\); choose one with --bundle"):
        find_bundle()


def test_files_and_half_written_bundles_are_not_found(places: Path) -> None:
    (places / "here" / "file.sacvit").write_bytes(b"")
    (places / "here" / ".late.sacvit.partial-123").mkdir()
    with pytest.raises(BundleError, match="no "):
        find_bundle()


def test_model_without_a_name_finds_the_bundle(places: Path, tiny_bundle: Path) -> None:
    shutil.copytree(tiny_bundle, places / "here" / "tiny.sacvit")
    assert SACViT(threads=1).bundle.path == places / "here" / "tiny.sacvit"
