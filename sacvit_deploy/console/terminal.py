"""Printing of names that strangers chose: no byte of a label or a file name may steer the terminal or forge a line."""

from __future__ import annotations

import re
import sys
import unicodedata

import click

JOINERS = "\u200c\u200d"  # invisible, but Persian, Hindi and emoji need them
_SUSPECT = re.compile(r"[^\x20-\x7e\xa1-\xac\xae-\u024f]")  # Latin letters are fast to tell


def printable(text: str, keep: str = "") -> str:
    """Return a text with everything escaped that is no visible character or space: `\\x1b`, `\\n`, `\\u202e`.

    That is control characters, line breaks, marks that turn the direction of writing, and halves of surrogate pairs.
    keep: characters that stay as they are.
    """

    def escaped(found: re.Match[str]) -> str:
        letter = found[0]
        hidden = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in JOINERS
        return letter.encode("unicode_escape").decode("ascii") if hidden and letter not in keep else letter

    return _SUSPECT.sub(escaped, text)


def say(text: str, *, err: bool = False) -> None:
    """Print lines of text whose names are `printable`, and escape what the stream's encoding lacks."""
    encoding = (sys.stderr if err else sys.stdout).encoding or "utf-8"
    shown = printable(text, keep="\n")
    click.echo(shown.encode(encoding, "backslashreplace").decode(encoding), err=err)
