"""What the two runtimes' replies to one mutated image mean: which is a failure, and which a known difference."""

from __future__ import annotations

from dataclasses import dataclass

from tests.corpora import Answer, difference
from tests.mutations.children import Reply
from tests.mutations.pictures import Picture

SAME, NEITHER, PYTHON, KNOWN = "same answer", "both refuse", "Python alone", "documented"
FAILURES = ("crashes", "escapes", "over budget", "hangs", "differing")
CRASH, ESCAPE, OVER, HANG, DIFFERENT = FAILURES
IDLE = 8 << 20  # bytes that an image may take that is refused before any are reserved
NOT_READ = ("is not an image in a supported format", "is empty")  # C++'s refusal of other formats


@dataclass(frozen=True)
class Verdict:
    """outcome: SAME, NEITHER, PYTHON, KNOWN or one of FAILURES. why: for the failures and the known differences."""

    outcome: str
    why: str = ""


@dataclass(frozen=True)
class Decoded:
    """A decoder's reply to one image, taken apart."""

    reply: Reply
    reserved: int = 0
    said: str = ""

    @property
    def refused(self) -> bool:
        """Whether it is an error of the documented kind."""
        return self.said.startswith("error: ")


def read(reply: Reply) -> Decoded:
    """Take a reply apart."""
    reserved, _, said = reply.text.partition("\t")
    return Decoded(reply, int(reserved) if reserved.isdecimal() else 0, said)


def harm(picture: Picture, who: str, found: Decoded) -> Verdict | None:
    """Return what is wrong with one runtime's reply alone, if anything."""
    if found.reply.crash:
        return Verdict(CRASH, f"{who}: {found.reply.crash}")
    if found.reply.hang:
        return Verdict(HANG, f"{who}: {found.reply.hang}")
    if found.refused and picture.name not in found.said:
        return Verdict(ESCAPE, f"{who} does not name the file: {found.said}")
    if not found.refused and len(found.said) != 64:  # neither an error nor a SHA-256
        return Verdict(ESCAPE, f"{who}: {found.said}")
    if found.reply.taken > max(found.reserved, IDLE):
        return Verdict(OVER, f"{who} took {found.reply.taken:,} bytes and had reserved {found.reserved:,}")
    return None


def judge(picture: Picture, python: Decoded, cpp: Decoded) -> Verdict:
    """Judge the two decoders' replies."""
    for who, found in (("Python", python), ("C++", cpp)):
        wrong = harm(picture, who, found)
        if wrong is not None:
            return wrong
    if not picture.cpp_reads:
        if not cpp.refused or not any(words in cpp.said for words in NOT_READ):
            return Verdict(DIFFERENT, f"C++ does not read the format, but says {cpp.said}")
        return Verdict(NEITHER if python.refused else PYTHON)
    if python.refused and cpp.refused:
        return Verdict(NEITHER)
    if python.said == cpp.said:
        return Verdict(SAME)
    known = documented(picture, python, cpp)
    return Verdict(KNOWN, known) if known else Verdict(DIFFERENT, f"Python: {python.said}; C++: {cpp.said}")


def documented(picture: Picture, python: Decoded, cpp: Decoded) -> str:
    """Return the row of the table of differences in cpp/README.md that a difference belongs to; empty for none."""
    raw = picture.raw
    if cpp.refused and "SOF type 0xc3" in cpp.said:
        return "lossless JPEG"
    if python.refused and raw.startswith(b"\xff\xd8") and b"\xff\x01" in raw:
        return "JPEG with the marker TEM"
    if not python.refused and not cpp.refused and raw.startswith(b"\xff\xd8") and b"\xff\xc2" in raw:
        return "progressive JPEG without its last scans"
    if raw.startswith(b"\x89PNG") and python.refused != cpp.refused:
        if cpp.refused and "would take about" in cpp.said:
            return "large interlaced PNG"
        if raw.count(b"IHDR") > 1:
            return "PNG with two headers"
        if raw[28:29] == b"\x01":
            return "PNG with pixels behind its last interlaced row"
    return ""


def judge_answer(picture: Picture, verdict: Verdict, python: Answer, cpp: Answer) -> Verdict:
    """Judge the public classes' answers to an image among others, whose decoders' replies had that verdict."""
    if verdict.outcome in FAILURES:
        return verdict
    if verdict.outcome == KNOWN:
        other = not python.error and not cpp.error and python.label != cpp.label
        return Verdict(KNOWN, f"{verdict.why}, another label") if other else verdict
    for who, answer, refuses in (
        ("Python", python, verdict.outcome == NEITHER),
        ("C++", cpp, verdict.outcome in (NEITHER, PYTHON)),
    ):
        if answer.error and picture.name not in answer.error:
            return Verdict(ESCAPE, f"{who} does not name the file among others: {answer.error}")
        if bool(answer.error) != refuses:
            said = answer.error or answer.label
            return Verdict(ESCAPE, f"{who} says otherwise among others than by itself: {said}")
    if verdict.outcome == SAME and (said := difference(python, cpp)):
        return Verdict(DIFFERENT, said)
    return verdict
