"""Charts by matplotlib, the extra `plot`: one figure as a PNG, or as SVG inside an HTML page with values on hover."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sacvit_deploy.errors import SacvitError

# Told apart by shape as well as by colour (Okabe and Ito's palette, safe for colour-blind readers).
STYLES = (
    ("#0072B2", "o"),
    ("#E69F00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#56B4E9", "v"),
    ("#D55E00", "P"),
    ("#999999", "X"),
)
POINTS = 72  # per inch; the SVG backend's units
SETTINGS = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same layout on every machine
    "text.parse_math": False,  # names of files may hold dollar signs
    "svg.fonttype": "none",  # letters stay text: small, searchable, in the page's font
}


def load_matplotlib() -> Any:
    """Import matplotlib for drawing into files. Raises SacvitError with the install command."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise SacvitError(
            f"drawing needs matplotlib ({error}); install it with: pip install 'sacvit-deploy[plot]'"
        ) from error
    return matplotlib


@contextmanager
def new_figure(width: float, height: float, **settings: object) -> Iterator[Any]:
    """Yield a figure of a size in points, 1/72 inch; draw and save it inside the block, where its settings hold.

    settings: matplotlib's rcParams, with `__` for a dot. Raises SacvitError where matplotlib is missing.
    """
    library = load_matplotlib()
    with library.rc_context({**SETTINGS, **{name.replace("__", "."): value for name, value in settings.items()}}):
        yield library.figure.Figure(figsize=(width / POINTS, height / POINTS), layout="constrained")


def save_png(figure: Any, path: Path, *, dpi: int) -> None:
    """Write a figure as a PNG. Raises SacvitError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=dpi)
    except (OSError, ValueError) as error:  # ValueError: a suffix that matplotlib has no format for
        raise SacvitError(f"can't write {path}: {error}") from error


def inline_svg(figure: Any, label: str, titles: Mapping[str, Sequence[str]], prefix: str) -> str:
    """Draw a figure as an `<svg>` element for an HTML page: no reference to anything outside it, no clipping.

    titles: texts shown on hover, by the gid of an artist: one for each marker of a line, or one for the artist itself.
    label: the chart's name for screen readers. prefix: of the element ids, unique in the page.
    """
    for artist in figure.findobj():
        artist.set_clip_on(False)
    file = io.BytesIO()
    with load_matplotlib().rc_context({"svg.hashsalt": prefix}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    # Inside HTML the names of elements and attributes count without their namespaces.
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", file.getvalue().decode()).replace(" xlink:href=", " href=")
    root = ElementTree.fromstring(text)
    for gid, texts in titles.items():
        group = root.find(f".//*[@id='{gid}']")
        if group is None:
            raise ValueError(f"no artist has the gid {gid}")
        for element, text in zip(list(group.iter("use")) or [group], texts, strict=True):
            title = ElementTree.Element("title")
            title.text = text
            element.insert(0, title)
    _compact(root, prefix)
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib |= {"viewBox": box, "role": "img", "aria-label": label, "stroke-linejoin": "round"}
    return ElementTree.tostring(root, encoding="unicode")


def _compact(root: ElementTree.Element, prefix: str) -> None:
    """Drop style sheets, fonts, unused ids, empty groups, and digits below a tenth of a point."""
    used = {element.get("href", "")[1:] for element in root.iter("use")}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "defs" and child.find("style") is not None:
                parent.remove(child)
    for element in root.iter():
        name = element.attrib.pop("id", "")
        if name in used:
            element.set("id", f"{prefix}-{name}")
        if "href" in element.attrib:
            element.set("href", f"#{prefix}-{element.attrib['href'][1:]}")
        for key in ("d", "transform", "x", "y", "style"):
            if key in element.attrib:
                rounded = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", element.attrib[key])
                element.set(key, " ".join(rounded.split()))
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        if "style" in element.attrib:
            element.set("style", re.sub(r" ?font-family:[^;]*;", "", element.attrib["style"]))
        if element.tag != "title" and not (element.text or "").strip():
            element.text = None
        element.tail = None
    _flatten(root)


def _flatten(parent: ElementTree.Element) -> None:
    """Put the children of groups without attributes and titles in the groups' places."""
    children: list[ElementTree.Element] = []
    for child in parent:
        _flatten(child)
        bare = child.tag == "g" and not child.attrib and child.find("title") is None
        children += list(child) if bare else [child]
    parent[:] = [child for child in children if child.tag != "defs" or len(child)]
