"""Background images: which files are usable, their licences, which split each belongs to, and random crops of them.

The split is by family, not by file: `floor01`, `floor01_dirty` and `floor02` often show the same boards, so splitting
single files would leak training images into the test split. A hash of the family's name decides, so the split needs no
list and does not change when files are added. Copies under another name (a recoloured wall, the same sand in another
folder) are left out of the test split.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

TEST_SHARE = 0.2
SALT = "448"  # chosen so that the test split holds enough families that may be shipped with attribution
MIN_SIDE = 256  # px; smaller files are decals and icons that would only be blurred
MAX_SIDE = 1200  # px of the shorter side; larger images are reduced when loaded: a scene shows at most 224 px of them
# Normal, specular, glow, roughness and height maps.
_NOT_COLOUR = re.compile(r"_(nm|sm|gm|rm|hm|glow|norm|spec|light)$")
# Licences under which an image can be shipped with a line of attribution (CC-BY-SA covers derived works, too).
SIMPLE_ATTRIBUTION = ("public-domain", "CC-BY-3.0", "CC-BY-SA-3.0", "Expat")
_FIELD = re.compile(r"^(\S[^:\n]*):(.*(?:\n[ \t].*)*)", re.MULTILINE)  # name and value, continued on indented lines
_LICENCE_PREFIX = "base/textures/"  # of the paths in the copyright file
DUPLICATE = 0.9  # correlation of two thumbnails, above which their images count as one
_SIDE = 24  # px of a thumbnail
_FLAT = 20.0  # norm of a thumbnail after subtracting its mean, below which there is nothing to compare


@dataclass(frozen=True)
class Licence:
    """Licence of one file, and the authors of its stanza; a stanza covers many files, so there may be several."""

    name: str
    authors: tuple[str, ...]

    @property
    def shippable(self) -> bool:
        """Tell whether the file may be shipped with attribution alone."""
        return self.name in SIMPLE_ATTRIBUTION


UNKNOWN = Licence("unknown", ())


class Background(NamedTuple):
    """Background image: its path below the backgrounds folder, RGB [H,W,3] uint8, and its licence."""

    name: str
    pixels: NDArray[np.uint8]
    licence: Licence = UNKNOWN


def split_of(family: str) -> Split:
    """Return the split that a family of images belongs to."""
    digest = hashlib.sha256(f"{SALT}:{family}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < TEST_SHARE * 2**64 else "train"


def family_of(path: Path) -> str:
    """Return the family of an image, given its path below the backgrounds folder.

    Wallpapers (`wallpapers/NAME/...`): one family per wallpaper, including its dark and tall versions.
    Textures (`textures/GROUP/floor012_dirty.png`): the group and the name up to its first digit.
    """
    if path.parts[0] == "wallpapers":
        return "/".join(path.parts[:2])
    stem = re.split(r"\d", path.stem, maxsplit=1)[0].rstrip("_-")
    return "/".join((*path.parts[:-1], stem))


def is_usable(path: Path) -> bool:
    """Tell whether a file's name is that of a colour image, not of a normal, specular or glow map or a thumbnail."""
    return path.suffix in (".png", ".jpg") and not _NOT_COLOUR.search(path.stem) and path.stem != "screenshot"


def _load(path: Path) -> NDArray[np.uint8] | None:
    """Decode an image to RGB, at most MAX_SIDE on its shorter side; None if it is too small or nearly one colour."""
    with Image.open(path) as image:
        if min(image.size) < MIN_SIDE:
            return None
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))
        rgb = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    scale = MAX_SIDE / min(rgb.size)
    if scale < 1:
        rgb = rgb.resize((round(rgb.width * scale), round(rgb.height * scale)), Image.Resampling.BOX)
    pixels = np.asarray(rgb)
    return pixels if pixels.std() > 4 else None


def read_copyright(path: Path) -> Mapping[str, Licence]:
    """Return file name -> licence; a file that only a pattern such as `*` covers isn't known to be free to ship."""
    licences: dict[str, Licence] = {}
    for stanza in path.read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        for name, value in _FIELD.findall(stanza):
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        if "Files" not in fields or "License" not in fields:
            continue
        authors = {line.strip() for line in fields.get("Copyright", "").splitlines()} - {""}
        licence = Licence(fields["License"].partition("\n")[0].strip(), tuple(sorted(authors)))
        licences |= {name: licence for name in fields["Files"].split() if "*" not in name}
    return licences


def read_backgrounds(root: Path, split: Split) -> Iterator[Background]:
    """Yield the backgrounds of one split of an assets folder, decoded one by one in the order of their names."""
    copyright_file = root / "textures-copyright"
    licences = read_copyright(copyright_file) if copyright_file.exists() else {}
    folder = root / "backgrounds"
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and is_usable(p)):
        name = path.relative_to(folder)
        pixels = _load(path) if split_of(family_of(name)) == split else None
        if pixels is not None:
            licence = licences.get(_LICENCE_PREFIX + "/".join(name.parts[1:]), UNKNOWN)
            yield Background(name.as_posix(), pixels, licence)


def signature(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an image's grey thumbnail, mean subtracted and scaled to norm 1: [576]; zeros if it is almost flat."""
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    grey: NDArray[np.float32] = np.asarray(small, np.float32).mean(axis=2).ravel()
    grey -= grey.mean()
    length = np.linalg.norm(grey)
    return grey / length if length > _FLAT else np.zeros_like(grey)


def without_duplicates(candidates: Iterable[Background], against: Iterable[Background]) -> tuple[Background, ...]:
    """Return the candidates that look like none of `against`."""
    known = np.array([signature(b.pixels) for b in against], np.float32).reshape(-1, _SIDE * _SIDE)
    return tuple(b for b in candidates if not (known @ signature(b.pixels) > DUPLICATE).any())


def load_unseen(root: Path) -> tuple[Background, ...]:
    """Load the test split's backgrounds without near-duplicates of the training split's."""
    return without_duplicates(read_backgrounds(root, "test"), read_backgrounds(root, "train"))


def crop(source: NDArray[np.uint8], width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cut a random window of the canvas's aspect ratio out of an image and resize it: [height,width,3] uint8.

    The window's size is drawn as a share of the largest that fits, so a larger canvas gets the same view.
    """
    full_height, full_width = source.shape[:2]
    largest = min(full_width / width, full_height / height)
    smallest = min(1.0, 200 / min(full_width, full_height))
    scale = largest * float(np.exp(rng.uniform(np.log(smallest), 0.0)))
    # A window as large as the image may exceed it by rounding.
    left = rng.uniform(0, max(0.0, full_width - width * scale))
    top = rng.uniform(0, max(0.0, full_height - height * scale))
    box = (left, top, min(full_width, left + width * scale), min(full_height, top + height * scale))
    view = Image.fromarray(source).resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    return np.asarray(view)
