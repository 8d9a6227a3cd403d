"""The reference's answers on pictures: what every engine is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import numpy as np
import torch
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.images.decode import ImageSource, load_image
from sacvit_deploy.images.preprocess import fit
from sacvit_deploy.verification.golden import Golden

ALPHAS = (0.3, 0.5, 0.9)
BATCHES = (1, 2, 7)
SHIPPED = (0, 1, 7, 8)  # two random and two real pictures travel in the bundle


def make_golden(model: ReferenceSACViT, pictures: Sequence[ImageSource]) -> Golden:
    """Run the reference on seven random and up to seven real pictures, at three alphas."""
    config = model.config
    size = config.geometry.image_size
    random = random_pictures(max(BATCHES), size)
    real = [fit(load_image(picture), size, config.preprocessing) for picture in pictures[: max(BATCHES)]]
    images = np.stack([*random, *real])
    kinds = ("random",) * len(random) + ("real",) * len(real)
    alphas = tuple(filter(lambda alpha: _usable(alpha, config), ALPHAS))
    with torch.no_grad():
        outputs = [model(normalised(images, config), alpha) for alpha in alphas]
    return Golden(
        images,
        outputs[0].ee.logits.numpy(),
        outputs[0].ee.scores.numpy(),
        alphas,
        tuple(out.targets.numpy() for out in outputs),
        tuple(out.logits.numpy() for out in outputs),
        kinds,
    )


def _usable(alpha: float, config: ModelConfig) -> bool:
    """Whether it leaves both clusters something, which on a very small grid it may not."""
    try:
        return num_targets(alpha, config.geometry.tokens, config.method.rounding) > 0
    except UsageError:
        return False


def normalised(images: Pixels, config: ModelConfig) -> torch.Tensor:
    """[B,S,S,3] uint8 -> [B,3,S,S] fp32, written out as the definition says and not as the runtime does it."""
    recipe = config.preprocessing
    mean, std = torch.tensor(recipe.mean), torch.tensor(recipe.std)
    return ((torch.from_numpy(images).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def random_pictures(count: int, size: int) -> Pixels:
    """[count,S,S,3]: coloured noise at several scales, so that tokens differ as they do in pictures."""
    rng = np.random.default_rng(2503)
    out = np.zeros((count, size, size, 3))
    for cells in (4, 14, 56, size):
        noise = rng.uniform(0, 255, (count, cells, cells, 3)).astype(np.uint8)
        layers = [Image.fromarray(layer).resize((size, size), Image.Resampling.BICUBIC) for layer in noise]
        out += np.stack([np.asarray(layer) for layer in layers]) / 4
    return out.astype(np.uint8)


def shipped_pictures() -> list[bytes]:
    """The real pictures that come with the package."""
    folder = resources.files("sacvit_deploy.export") / "pictures"
    pictures = [entry for entry in folder.iterdir() if entry.name.endswith(".jpg")]
    return [entry.read_bytes() for entry in sorted(pictures, key=lambda entry: entry.name)]
