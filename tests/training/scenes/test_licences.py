"""Debian copyright files: licences and authors of the files they list by name."""

from __future__ import annotations

from pathlib import Path

from sacvit_deploy.training.scenes.licences import read_copyright

COPYRIGHT = """Format: https://example.org/

Files: *
License: GPL-2+

Files:
 base/textures/tex_a/free01.png
 base/textures/tex_a/free02.png
Copyright:
 Ada Lovelace
 Charles Babbage
License: CC-BY-3.0

Files: base/textures/tex_a/bound01.png
Copyright: Somebody
License: GPL-2
"""


def test_licences_name_files_and_authors_and_ignore_patterns(tmp_path: Path) -> None:
    (tmp_path / "copyright").write_text(COPYRIGHT)
    licences = read_copyright(tmp_path / "copyright")
    free = licences["base/textures/tex_a/free01.png"]
    assert (free.name, free.authors, free.shippable) == ("CC-BY-3.0", ("Ada Lovelace", "Charles Babbage"), True)
    assert not licences["base/textures/tex_a/bound01.png"].shippable
    assert "*" not in licences and len(licences) == 3
