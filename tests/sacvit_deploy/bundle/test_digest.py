"""Sealed JSON files."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.bundle.digest import read_sealed, seal


def test_what_is_no_text_is_written_as_its_number(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(seal(1, {"name": "gro\udcdf \ud83d ä 猫 \U0001f408"}))
    data = read_sealed(tmp_path / "a.json", 1, dict, "a test", "try again")
    assert data["name"] == "gro\\udcdf \\ud83d ä 猫 \U0001f408"
