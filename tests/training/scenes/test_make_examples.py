"""The shipped checkpoint and images, and the command that writes such images."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sacvit_deploy.export.checkpoint import load_checkpoint
from sacvit_deploy.training.scenes import make_examples
from sacvit_deploy.training.scenes.backgrounds import Split
from sacvit_deploy.training.scenes.classes import LABELS
from sacvit_deploy.training.scenes.make_examples import ORIENTATION, Example, plan, write
from sacvit_deploy.training.scenes.render import ObjectLibrary

EXAMPLES = Path(__file__).parents[3] / "examples"


def _rows(name: str) -> list[dict[str, str]]:
    with (EXAMPLES / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_shipped_checkpoint_loads_with_its_provenance() -> None:
    path = EXAMPLES / "model.safetensors"
    checkpoint = load_checkpoint(path)
    assert path.stat().st_size < 12e6
    assert checkpoint.labels == list(LABELS) and checkpoint.eta == 0.6
    assert checkpoint.model.config.preprocessing.crop == 1.0
    provenance = checkpoint.provenance
    assert provenance["finished"] and provenance["history"][-1]["recipe"]["seed"] == 0
    assert 0.3 < provenance["held_ee"] < provenance["held_sac"] and provenance["held_count"] == 1024


def test_truth_lists_every_image_and_only_those() -> None:
    files = sorted(p.name for p in (EXAMPLES / "pictures").iterdir())
    assert [row["file"] for row in _rows("truth.csv")] == files
    assert {row["file"] for row in _rows("attribution.csv")} == set(files)
    assert sum((EXAMPLES / "pictures" / f).stat().st_size for f in files) < 4e6


@pytest.mark.parametrize("row", _rows("truth.csv"), ids=lambda row: row["file"])
def test_truth_fits_the_image(row: dict[str, str]) -> None:
    with Image.open(EXAMPLES / "pictures" / row["file"]) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    left, top, right, bottom = (int(v) for v in row["box"].split())
    unit = min(image.size) / 224
    assert row["label"] in LABELS and row["label"] in row["file"]
    assert 0 <= left < right <= image.width and 0 <= top < bottom <= image.height
    assert abs(max(right - left, bottom - top) / unit - float(row["object_px"])) < 1
    middle = np.asarray(image)[top:bottom, left:right]
    assert middle.std() > 5  # something is there


def test_images_are_of_many_kinds() -> None:
    kinds, turned = set(), 0
    for row in _rows("truth.csv"):
        with Image.open(EXAMPLES / "pictures" / row["file"]) as image:
            kinds.add((image.format, image.mode))
            turned += image.getexif().get(ORIENTATION) == 6
    assert kinds >= {("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P")}
    assert turned == 1


def test_only_freely_shippable_backgrounds_are_shipped() -> None:
    allowed = {"public-domain", "CC-BY-3.0", "CC-BY-SA-3.0", "Expat", "MIT"}
    assert all(row["licence"] in allowed and row["authors"] for row in _rows("attribution.csv"))


@pytest.mark.parametrize("kind", ["jpg", "png", "rotated.jpg", "cmyk.jpg", "grey.jpg", "alpha.png", "palette.png"])
def test_every_kind_of_file_shows_the_image_upright(kind: make_examples.Kind, tmp_path: Path) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30] = 255
    path = tmp_path / f"x.{kind}"
    write(Image.fromarray(pixels), path, kind)
    with Image.open(path) as file:
        seen = np.asarray(ImageOps.exif_transpose(file).convert("L"), np.float64)
    assert seen.shape == (40, 60)
    assert np.abs(seen - pixels[..., 0]).mean() < 8


def test_plan_has_no_label_twice_and_every_size() -> None:
    examples = plan(40)
    assert len({e.label for e in examples}) == 40 and len({e.file for e in examples}) == 40
    assert {e.size for e in examples} == {"small", "medium", "large"}


def test_an_example_shows_its_label_at_its_size(library_of: Callable[[Split], ObjectLibrary]) -> None:
    example = Example(9, 31, "large", (320, 240), "png")
    scene = make_examples.draw(example, library_of("test"), seed=7)
    assert scene.label == 31 and 75 <= scene.object_px <= 140 and scene.pixels.shape == (240, 320, 3)
    assert example.file == f"09_{LABELS[31]}_large.png"
