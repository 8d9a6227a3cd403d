"""Debian copyright files: which licence covers a file, and which authors to credit."""

from __future__ import annotations

import email
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Licences under which an image can be shipped with a line of attribution (CC-BY-SA covers derived works, too).
SIMPLE_ATTRIBUTION = ("public-domain", "CC-BY-3.0", "CC-BY-SA-3.0", "Expat")


@dataclass(frozen=True)
class Licence:
    """Licence of one file, and the authors of its stanza; a stanza covers many files, so there may be several."""

    name: str
    authors: tuple[str, ...]

    @property
    def shippable(self) -> bool:
        """Whether the file may be shipped with attribution alone."""
        return self.name in SIMPLE_ATTRIBUTION


UNKNOWN = Licence("unknown", ())


def read_copyright(path: Path) -> Mapping[str, Licence]:
    """Return file name -> licence; a file that only a pattern such as `*` covers isn't known to be free to ship."""
    licences: dict[str, Licence] = {}
    for stanza in path.read_text(encoding="utf-8").split("\n\n"):
        fields = email.message_from_string(stanza.strip("\n"))  # a stanza has the syntax of mail headers
        if "Files" not in fields or "License" not in fields:
            continue
        authors = {line.strip() for line in fields.get("Copyright", "").splitlines()} - {""}
        licence = Licence(fields["License"].partition("\n")[0].strip(), tuple(sorted(authors)))
        licences |= {name: licence for name in fields["Files"].split() if "*" not in name}
    return licences
