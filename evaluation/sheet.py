"""The contact sheet: a choice of images that exited beside images that continued, as in figure 5 of the paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from sacvit_deploy.arrays import Index, Pixels
from sacvit_deploy.errors import ImageError
from sacvit_deploy.evaluation.labelled_images import Float
from sacvit_deploy.evaluation.scenes import size_buckets
from sacvit_deploy.images.overlay import shade

Font: TypeAlias = ImageFont.ImageFont | ImageFont.FreeTypeFont
SIDE = 192  # px of an image on the sheet
GAP = 12  # px between images
CAPTION = 40  # px below an image: truth, then answer
HEAD = 34  # px above a part
TITLE = 58  # px at the top: title and legend
BADGE = 30  # px of the sign for right or wrong
RIGHT, WRONG, BOX = (0, 128, 60), (200, 40, 30), (0, 220, 255)


@dataclass(frozen=True)
class Card:
    """An image on the sheet: the model's view [S,S,3], its true class, and the answer with its probability.

    mask: [g,g], True for the targets of stage 2; None where stage 1 answered. box: [4] left, top, right, bottom of the
    object in px of the view; None where the data set does not record it.
    """

    pixels: Pixels
    truth: str
    answer: str
    probability: float
    right: bool
    mask: npt.NDArray[np.bool_] | None
    box: Float | None


def split_count(exits: int, continuing: int, count: int) -> tuple[int, int]:
    """Share `count` places between both kinds of images: half each, more for one where the other has too few."""
    first = min(exits, max(count - count // 2, count - continuing))
    return first, min(continuing, count - first)


def choose_rows(rows: Index, object_px: Float | None, count: int, rng: np.random.Generator) -> Index:
    """Choose `count` of the rows at random; where object sizes are known, equally from each, ordered by size."""
    order = rng.permutation(rows)
    if object_px is None:
        return order[:count]
    turn = np.zeros(len(order), dtype=np.int64)  # of each row within its size
    for inside in size_buckets(object_px[order]).values():
        turn[inside] = np.arange(inside.sum())
    chosen = order[np.argsort(turn, kind="stable")][:count]
    return chosen[np.argsort(object_px[chosen], kind="stable")]


def draw_sheet(title: str, exits: Sequence[Card], rest: Sequence[Card], heads: tuple[str, str]) -> Image.Image:
    """Draw the two parts side by side, under their heads; an empty part says so."""
    columns = max(2, round(math.sqrt(2 * max(len(exits), len(rest)))))
    parts = [_part(head, cards, columns) for head, cards in zip(heads, (exits, rest), strict=True)]
    width = sum(part.width for part in parts) + 3 * GAP
    sheet = Image.new("RGB", (width, TITLE + max(part.height for part in parts)), "white")
    _legend(sheet, title, has_box=any(card.box is not None for card in [*exits, *rest]))
    x = GAP
    for part in parts:
        sheet.paste(part, (x, TITLE))
        x += part.width + GAP
    middle = parts[0].width + GAP + GAP // 2
    ImageDraw.Draw(sheet).line((middle, TITLE + 4, middle, sheet.height - GAP), fill=(190, 190, 190), width=2)
    return sheet


def _legend(sheet: Image.Image, title: str, *, has_box: bool) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, 8), title, fill="black", font=_font(17))
    x, y = GAP, 34
    for right, word in ((True, "right"), (False, "wrong")):
        _badge(draw, x, y - 1, right, 18)
        draw.text((x + 24, y), word, fill="black", font=_font(13))
        x += 80
    draw.rectangle((x, y, x + 16, y + 14), outline=(255, 200, 0), width=2)
    draw.text((x + 22, y), "bright: targets, seen at full resolution; dark: background", fill="black", font=_font(13))
    if has_box:
        x += 390
        _dashed(draw, (x, y, x + 16, y + 14))
        draw.text((x + 22, y), "box of the object (truth)", fill="black", font=_font(13))


def _part(head: str, cards: Sequence[Card], columns: int) -> Image.Image:
    rows = max(1, math.ceil(len(cards) / columns))
    width = columns * (SIDE + GAP)
    part = Image.new("RGB", (width, HEAD + rows * (SIDE + CAPTION + GAP)), "white")
    draw = ImageDraw.Draw(part)
    draw.text((0, 6), _fitted(draw, head, width - GAP, _font(16)), fill="black", font=_font(16))
    if not cards:
        draw.text((0, HEAD + 8), "no such images", fill=(110, 110, 110), font=_font(14))
    for number, card in enumerate(cards):
        row, column = divmod(number, columns)
        part.paste(_card(card), (column * (SIDE + GAP), HEAD + row * (SIDE + CAPTION + GAP)))
    return part


def _card(card: Card) -> Image.Image:
    image = Image.fromarray(card.pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    if card.mask is not None:
        image = shade(image, card.mask)
    draw = ImageDraw.Draw(image)
    if card.box is not None:
        left, top, right, bottom = (card.box * SIDE / len(card.pixels)).tolist()
        if right > left and bottom > top:
            _dashed(draw, (left - 2, top - 2, right + 1, bottom + 1))
    out = Image.new("RGB", (SIDE, SIDE + CAPTION), "white")
    out.paste(image, (0, 0))
    draw = ImageDraw.Draw(out)
    _badge(draw, SIDE - BADGE, SIDE + 5, card.right, BADGE)
    width = SIDE - BADGE - 8
    # The truth in black; below it the answer, in the sign's colour.
    draw.text((2, SIDE + 3), _fitted(draw, card.truth, width, _font(14)), fill="black", font=_font(14))
    probability = f" {card.probability:.0%}"
    room = width - draw.textlength(probability, font=_font(13))
    answer = _fitted(draw, card.answer if card.right else f"said {card.answer}", room, _font(13)) + probability
    draw.text((2, SIDE + 20), answer, fill=RIGHT if card.right else WRONG, font=_font(13))
    return out


def _badge(draw: ImageDraw.ImageDraw, x: float, y: float, right: bool, size: int) -> None:
    """Draw a tick on green or a cross on red; the shapes differ for colour-blind readers."""
    draw.rectangle((x, y, x + size - 1, y + size - 1), fill=RIGHT if right else WRONG)
    strokes = [[(0.2, 0.52), (0.42, 0.74), (0.8, 0.28)]]
    if not right:
        strokes = [[(0.25, 0.25), (0.75, 0.75)], [(0.75, 0.25), (0.25, 0.75)]]
    for stroke in strokes:
        draw.line([(x + a * size, y + b * size) for a, b in stroke], fill="white", width=max(2, size // 9))


def _dashed(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], dash: int = 4) -> None:
    left, top, right, bottom = box
    across = [(x, min(x + dash, right)) for x in range(int(left), math.ceil(right), 2 * dash)]
    down = [(y, min(y + dash, bottom)) for y in range(int(top), math.ceil(bottom), 2 * dash)]
    for start, end in across:
        draw.line((start, top, end, top), fill=BOX, width=2)
        draw.line((start, bottom, end, bottom), fill=BOX, width=2)
    for start, end in down:
        draw.line((left, start, left, end), fill=BOX, width=2)
        draw.line((right, start, right, end), fill=BOX, width=2)


def _fitted(draw: ImageDraw.ImageDraw, text: str, width: float, font: Font) -> str:
    """Cut a text that is too wide, and end it with three dots."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text + "..."


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write the sheet in the format of the path's suffix. Raises ImageError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path)
    except OSError as error:
        raise ImageError(f"can't write {path}: {error.strerror or error}") from error


def _font(size: int) -> Font:
    return ImageFont.load_default(size=size)
