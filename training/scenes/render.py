"""Rendering of one scene: a class object on a background among other objects, rotated, lit, blurred, partly covered.

A scene is a pure function of (split, seed, index): they seed the random generator, and nothing else is read. The label
is `index % 60`, so any sixty consecutive scenes hold every class once. Lengths are in px of a 224 px scene; a larger
canvas shows the same kind of scene in more detail, with the object inside the centre square that preprocessing keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from sacvit_deploy.training.scenes.backgrounds import SPLITS, Split, crop
from sacvit_deploy.training.scenes.classes import CLASSES, DISTRACTORS, MIRROR
from sacvit_deploy.training.scenes.clutter import add_shapes, generated

SCENE = 224  # px; all lengths refer to a scene of this side
OBJECT_PX = (16.0, 150.0)  # longest side of the class object
GENERATED_SHARE = 0.12
COLLAGE_SHARE = 0.3
COVERED_SHARE = 0.3

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ObjectLibrary:
    """Object art by code point (RGBA) and background images ([H,W,3] uint8) of one split."""

    split: Split
    objects: Mapping[str, Image.Image]
    backgrounds: Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Scene:
    """Rendered scene with its ground truth."""

    pixels: NDArray[np.uint8]  # [H,W,3] RGB
    label: int
    object_px: float  # longest side of the object, in px of the 224 px scene
    box: Box  # left, top, right, bottom of the object in canvas px, right and bottom exclusive
    sources: tuple[int, ...]  # indices of the backgrounds used; empty when the background was generated


def _background(
    library: ObjectLibrary, width: int, height: int, rng: np.random.Generator
) -> tuple[Image.Image, tuple[int, ...]]:
    """Return a canvas of one image, a collage of two, or a generated pattern, and the indices of the images used."""
    if not library.backgrounds or rng.random() < GENERATED_SHARE:
        return Image.fromarray(generated(width, height, rng)), ()
    count = 2 if rng.random() < COLLAGE_SHARE else 1
    picks = tuple(int(i) for i in rng.integers(len(library.backgrounds), size=count))
    views = [crop(library.backgrounds[i], width, height, rng) for i in picks]
    if rng.random() < 0.5:
        views[0] = views[0][:, ::-1]
    pixels = views[0]
    if count == 2:
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        angle = rng.uniform(0, 2 * np.pi)
        side = x * np.cos(angle) + y * np.sin(angle) > rng.uniform(-0.6, 0.6)
        pixels = np.where(side[..., None], views[0], views[1])
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _relight(image, rng, 0.35), picks


def _relight(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Scale brightness, contrast and saturation, each by a random factor within 1 +- strength."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(1 - strength, 1 + strength)))
    return image


def _transform(art: Image.Image, size: float, turn: float, flip: bool) -> Image.Image:
    """Rotate RGBA art by `turn` degrees, crop it to its visible part and scale its longest side to `size` px."""
    if flip:
        art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Rotating at 2.5 times the final size keeps the edges sharp, and is faster than rotating all 256 px of the art.
    working = min(1.0, 2.5 * size / max(art.size))
    if working < 1.0:
        side = max(8, round(max(art.size) * working))
        art = art.resize((side, side), Image.Resampling.BOX, reducing_gap=2.0)
    art = art.rotate(turn, Image.Resampling.BICUBIC, expand=True)
    visible = art.getchannel("A").point(lambda a: 255 if a > 24 else 0).getbbox()
    art = art.crop(visible)
    scale = size / max(art.size)
    return art.resize((max(1, round(art.width * scale)), max(1, round(art.height * scale))), Image.Resampling.LANCZOS)


def _recolour(sprite: Image.Image, rng: np.random.Generator, strength: float, blur: float) -> Image.Image:
    """Vary an RGBA sprite's light and colours, and blur them; outline and size stay."""
    alpha = sprite.getchannel("A")
    colours = _relight(sprite.convert("RGB"), rng, strength)
    gains = rng.uniform(1 - strength / 2, 1 + strength / 2, 3)
    colours = colours.point([min(255, level * gain) for gain in gains.tolist() for level in range(256)])
    if blur > 0.3:
        colours = colours.filter(ImageFilter.GaussianBlur(blur))
    colours.putalpha(alpha)
    return colours


def _distractor(library: ObjectLibrary, size: float, rng: np.random.Generator) -> Image.Image:
    art = library.objects[DISTRACTORS[int(rng.integers(len(DISTRACTORS)))]]
    sprite = _transform(art, size, rng.uniform(-180, 180), bool(rng.random() < 0.5))
    return _recolour(sprite, rng, 0.35, 0.0)


def render(
    library: ObjectLibrary,
    seed: int,
    index: int,
    width: int = SCENE,
    height: int = SCENE,
    object_range: tuple[float, float] = OBJECT_PX,
) -> Scene:
    """Render scene `index` of the library's split on a canvas of `width` x `height` px.

    object_range: bounds of the object's longest side, drawn log-uniformly, in px of the 224 px scene.
    """
    rng = np.random.default_rng([SPLITS.index(library.split), seed, index])
    label = index % len(CLASSES)
    unit = min(width, height) / SCENE
    canvas, sources = _background(library, width, height, rng)
    add_shapes(canvas, int(rng.integers(0, 5)), rng)
    for _ in range(int(rng.integers(0, 4))):
        other = _distractor(library, unit * float(np.exp(rng.uniform(np.log(12), np.log(56)))), rng)
        spot = rng.uniform(0, 1, 2) * (width - other.width, height - other.height)
        canvas.paste(other, (round(spot[0]), round(spot[1])), other)

    object_px = float(np.exp(rng.uniform(*np.log(object_range))))
    clock = CLASSES[label].group == "clock"
    flip = bool(rng.random() < 0.5)
    art = library.objects[CLASSES[MIRROR[label] if flip else label].code]
    turn = rng.uniform(-10, 10) if clock else rng.uniform(-35, 35)  # rotated by 30 degrees, a clock shows another hour
    sprite = _transform(art, object_px * unit, turn, flip)
    sprite = _recolour(sprite, rng, 0.25, unit * rng.uniform(0, 0.9) * min(1, object_px / 60))
    centre = np.array([width - SCENE * unit, height - SCENE * unit]) / 2
    left, top = np.round(centre + rng.uniform(0, 1, 2) * (SCENE * unit - np.array(sprite.size))).astype(int)
    canvas.paste(sprite, (left, top), sprite)
    box = (int(left), int(top), int(left) + sprite.width, int(top) + sprite.height)

    if rng.random() < COVERED_SHARE:
        _cover(canvas, box, library, rng)
    return Scene(_finish(canvas, unit, rng), label, object_px, box, sources)


def _cover(canvas: Image.Image, box: Box, library: ObjectLibrary, rng: np.random.Generator) -> None:
    """Paste a distractor over the edge of the class object; it hides at most a quarter of the box's area."""
    longest = max(box[2] - box[0], box[3] - box[1])
    other = _distractor(library, longest * rng.uniform(0.3, 0.5), rng)
    angle = rng.uniform(0, 2 * np.pi)
    x = (box[0] + box[2]) / 2 + np.cos(angle) * longest * 0.5 - other.width / 2
    y = (box[1] + box[3]) / 2 + np.sin(angle) * longest * 0.5 - other.height / 2
    canvas.paste(other, (round(x), round(y)), other)


def _finish(canvas: Image.Image, unit: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Vary the light of the whole scene and add sensor noise: [H,W,3] uint8."""
    pixels = np.asarray(_relight(canvas, rng, 0.2), np.float32)
    sigma = rng.uniform(0, 6)
    grain = rng.standard_normal((SCENE, SCENE), dtype=np.float32) * sigma
    if unit != 1.0 or canvas.size != (SCENE, SCENE):
        grain = np.asarray(Image.fromarray(grain).resize(canvas.size, Image.Resampling.NEAREST))
    return np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8)
