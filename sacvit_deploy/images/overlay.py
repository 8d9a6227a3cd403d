"""Drawing the tokens that stage 2 saw at full resolution."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.prediction import Prediction

SHADE = 0.35  # brightness left to background tokens
SIDE = 448  # px of the drawn square, so that tokens and caption can be read
BAR = 44  # px of the caption


def draw_overlay(pixels: Pixels, prediction: Prediction, eta: float, alpha: float) -> Image.Image:
    """Draw the model's view [S,S,3] with background tokens darkened, targets outlined, and the answer as a caption.

    An image that exited at stage 1 has no targets, so nothing is darkened. eta, alpha: what it was asked with.
    """
    image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    mask = prediction.target_mask
    if mask is not None:
        image = shade(image, mask)
    sheet = Image.new("RGB", (SIDE, SIDE + BAR), "white")
    sheet.paste(image, (0, 0))
    font = ImageFont.load_default(size=14)
    for line, text in enumerate(caption(prediction, eta, alpha)):
        ImageDraw.Draw(sheet).text((8, SIDE + 4 + 18 * line), text, fill="black", font=font)
    return sheet


def caption(prediction: Prediction, eta: float, alpha: float) -> tuple[str, str]:
    """Return two lines: the answer, and how it came about."""
    stage = "exit at stage 1" if prediction.targets is None else f"stage 2, {len(prediction.targets)} targets"
    return f"{prediction.label}  {prediction.probability:.0%}", f"{stage}; eta {eta:g}, alpha {alpha:g}"


def shade(image: Image.Image, mask: npt.NDArray[np.bool_]) -> Image.Image:
    """Darken the background cells of a square image and draw a line around each group of target cells; mask [g,g]."""
    grid, side = mask.shape[0], image.width
    edges = [round(i * side / grid) for i in range(grid + 1)]
    light = np.full((side, side, 1), SHADE, dtype=np.float32)
    for row, column in zip(*np.nonzero(mask), strict=True):
        light[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = 1.0
    shaded = Image.fromarray((np.asarray(image) * light).astype(np.uint8))
    draw = ImageDraw.Draw(shaded)
    padded = np.pad(mask, 1)
    for row, column in zip(*np.nonzero(mask), strict=True):
        x0, y0, x1, y1 = edges[column], edges[row], edges[column + 1], edges[row + 1]
        sides = {(0, 1): (x0, y0, x1, y0), (2, 1): (x0, y1, x1, y1), (1, 0): (x0, y0, x0, y1), (1, 2): (x1, y0, x1, y1)}
        for (down, right), line in sides.items():
            if not padded[row + down, column + right]:
                draw.line(line, fill=(255, 200, 0), width=2)
    return shaded
