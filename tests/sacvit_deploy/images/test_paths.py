"""From files, folders and globs to image paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacvit_deploy.errors import UsageError
from sacvit_deploy.images.paths import expand


def test_expand(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "c.txt", "d[1].jpg"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "e.jpg").touch()
    at = str(tmp_path)
    names = [path.name for path in expand([at, f"{at}/b.jpg"])]
    assert names == ["a.PNG", "b.jpg", "d[1].jpg", "b.jpg"]
    assert [path.name for path in expand([f"{at}/*.jpg"])] == ["b.jpg", "d[1].jpg"]
    assert [path.name for path in expand([f"{at}/**/*.jpg"])] == ["b.jpg", "d[1].jpg", "e.jpg"]
    assert expand([f"{at}/d[1].jpg"]) == [tmp_path / "d[1].jpg"]  # a name, though it looks like a glob
    assert expand([f"{at}/none.jpg"]) == [tmp_path / "none.jpg"]  # reported in its place
    for nothing in (f"{at}/*.bmp", f"{at}/none/*.jpg"):
        with pytest.raises(UsageError, match="nothing matches"):
            expand([nothing])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images in the folder"):
        expand([f"{at}/empty"])
