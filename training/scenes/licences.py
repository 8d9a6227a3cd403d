"""Debian copyright files: which licence covers a file, and which authors to credit."""

from __future__ import annotations

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


def _fields(stanza: str) -> dict[str, list[str]]:
    """Split a stanza into its fields: name -> lines, the first of which may be empty."""
    fields: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in stanza.splitlines():
        if line[:1] not in (" ", "\t", ""):
            name, _, value = line.partition(":")
            lines = fields.setdefault(name, [])
            lines.append(value.strip())
        else:
            lines.append(line.strip())
    return fields


def read_copyright(path: Path) -> Mapping[str, Licence]:
    """Return file name -> licence for every file listed by name; patterns such as `*` are left out on purpose.

    A file that only a pattern covers is not known to be free to ship.
    """
    licences: dict[str, Licence] = {}
    for stanza in path.read_text(encoding="utf-8").split("\n\n"):
        fields = _fields(stanza.strip("\n"))
        if "Files" not in fields or "License" not in fields:
            continue
        names = [name for line in fields["Files"] for name in line.split() if "*" not in name]
        authors = tuple(sorted({line for line in fields.get("Copyright", []) if line}))
        for name in names:
            licences[name] = Licence(fields["License"][0], authors)
    return licences
