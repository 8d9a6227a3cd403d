"""Read a Debian copyright file: which licence covers a file, and whom to name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Licences that let a picture be shipped with a line of attribution (CC-BY-SA asks the same of what is made from it).
SIMPLE_ATTRIBUTION = ("public-domain", "CC-BY-3.0", "CC-BY-SA-3.0", "Expat")


@dataclass(frozen=True)
class Licence:
    """The licence of one file and the authors its stanza names; a stanza covers many files, so there may be several."""

    name: str
    authors: tuple[str, ...]

    @property
    def shippable(self) -> bool:
        """Whether simple attribution is enough."""
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
    """Return file name -> licence for every file named one by one; patterns such as `*` are left out on purpose.

    A file that only a pattern covers is not known to be free for shipping, so it must not appear here.
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
