"""Debian copyright files: licences and authors of the files they list by name."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.training.scenes.licences import read_copyright


def test_licences_name_files_and_authors_and_ignore_patterns(tmp_path: Path, copyright_text: str) -> None:
    (tmp_path / "copyright").write_text(copyright_text)
    licences = read_copyright(tmp_path / "copyright")
    free = licences["base/textures/tex_a/free01.png"]
    assert (free.name, free.authors, free.shippable) == ("CC-BY-3.0", ("Ada Lovelace", "Charles Babbage"), True)
    assert not licences["base/textures/tex_a/bound01.png"].shippable
    assert "*" not in licences and len(licences) == 3
