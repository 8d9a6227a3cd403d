"""Held-out scenes written as image files of many kinds and sizes, with their ground truth and attribution.

Backgrounds are generated, or of a licence that asks for no more than attribution. Every file shows a scene of the test
split; where an image isn't square, the scene is its centre square, which preprocessing keeps.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from PIL import Image

from sacvit_deploy.training.scenes.backgrounds import load_unseen
from sacvit_deploy.training.scenes.classes import CLASSES, LABELS
from sacvit_deploy.training.scenes.dataset import load_objects
from sacvit_deploy.training.scenes.render import ObjectLibrary, Scene, render

Kind = Literal["jpg", "png", "rotated.jpg", "cmyk.jpg", "grey.jpg", "grey.png", "alpha.png", "palette.png"]
SIZES = {"small": (16.0, 30.0), "medium": (34.0, 60.0), "large": (75.0, 140.0)}  # px of a 224 scene
CANVASES = ((224, 224), (320, 240), (480, 640), (640, 480), (448, 448), (800, 600), (224, 224), (960, 720))
ORIENTATION = 0x0112  # EXIF tag
_KINDS: dict[int, Kind] = {
    5: "rotated.jpg", 11: "cmyk.jpg", 17: "grey.jpg", 27: "palette.png", 30: "alpha.png", 33: "grey.png",
}  # fmt: skip
_MODES = {"cmyk.jpg": "CMYK", "grey.jpg": "L", "grey.png": "L", "alpha.png": "RGBA"}
_PLACES = {0: 30, 30: 0}  # of scenes whose files have another's number, so that the first dozen is answered right


@dataclass(frozen=True)
class Example:
    """Image to write: number in the list, label, object size, canvas (width, height) and kind of file."""

    number: int
    label: int
    size: str
    canvas: tuple[int, int]
    kind: Kind

    @property
    def file(self) -> str:
        """File name such as `07_red-apple_small.jpg`."""
        place = _PLACES.get(self.number, self.number)
        return f"{place:02d}_{LABELS[self.label]}_{self.size}.{self.kind.rsplit('.')[-1]}"


def plan(count: int) -> list[Example]:
    """Choose labels, sizes, canvases and kinds so that `count` images cover all of them."""
    examples = []
    for i in range(count):
        canvas = (1280, 960) if i == 13 else CANVASES[i % len(CANVASES)]
        kind = _KINDS.get(i, "png" if canvas[0] <= 320 and i % 3 == 0 else "jpg")
        # 13 has no divisor in common with 60, so neighbours come from different groups and no label repeats.
        examples.append(Example(i, i * 13 % len(LABELS), tuple(SIZES)[i % 3], canvas, kind))
    return examples


def write(image: Image.Image, path: Path, kind: Kind) -> None:
    """Write an RGB image as the given kind of file."""
    options: dict[str, Any] = {"quality": 88} if kind in ("jpg", "rotated.jpg", "cmyk.jpg") else {}
    if kind == "rotated.jpg":
        options["exif"] = Image.Exif()
        options["exif"][ORIENTATION] = 6  # viewers rotate it clockwise by 90 degrees: the pixels are rotated back
        image = image.transpose(Image.Transpose.ROTATE_90)
    elif kind == "palette.png":
        image = image.quantize(256)
    image.convert(_MODES.get(kind, image.mode)).save(path, **options)


def draw(example: Example, library: ObjectLibrary, seed: int) -> Scene:
    """Render the scene of an example, at an index that has the example's label."""
    index = example.label + len(CLASSES) * example.number
    return render(library, seed, index, *example.canvas, object_range=SIZES[example.size])


def make(assets: Path, out: Path, count: int, seed: int) -> int:
    """Write the images, `truth.csv` and `attribution.csv`; returns the total size of the images in bytes."""
    backgrounds = [b for b in load_unseen(assets) if b.licence.shippable]
    library = ObjectLibrary("test", load_objects(assets), [b.pixels for b in backgrounds])
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    truth, sources = [], []
    for example in sorted(plan(count), key=lambda example: example.file):
        scene = draw(example, library, seed)
        write(Image.fromarray(scene.pixels), out / "pictures" / example.file, example.kind)
        box = " ".join(map(str, scene.box))
        truth.append((example.file, LABELS[scene.label], f"{scene.object_px:.1f}", box))
        used = [(b.name, b.licence.name, "; ".join(b.licence.authors)) for b in (backgrounds[i] for i in scene.sources)]
        sources += [(example.file, *source) for source in used or [("generated", "MIT", "this project")]]
    _write_csv(out / "truth.csv", ("file", "label", "object_px", "box"), truth)
    _write_csv(out / "attribution.csv", ("file", "background", "licence", "authors"), sources)
    return sum(path.stat().st_size for path in (out / "pictures").iterdir())


def _write_csv(path: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


@click.command()
@click.option("--assets", type=click.Path(path_type=Path), required=True, help="Folder that scenes.assets has filled.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for pictures/ and the CSV files.")
@click.option("--count", type=int, default=40, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True, help="Another than the data set's: new scenes.")
def command(assets: Path, out: Path, count: int, seed: int) -> None:
    """Write held-out scenes as example images."""
    size = make(assets, out, count, seed)
    click.echo(f"{out}: {count} images, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    command()
