"""Golden vectors: the reference model's outputs on random and real images, which engines are compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from importlib import resources

import numpy as np
import torch
from PIL import Image

from sacvit_deploy.arrays import Pixels
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import UsageError
from sacvit_deploy.export.model import ReferenceSACViT
from sacvit_deploy.images.decode import ImageSource, fit_image
from sacvit_deploy.verification.golden import Golden

ALPHAS = (0.3, 0.5, 0.9)
BATCHES = (1, 2, 7)
BUNDLED_ROWS = (0, 1, 7, 8)  # two random and two real images travel in the bundle


def make_golden(model: ReferenceSACViT, sources: Sequence[ImageSource]) -> Golden:
    """Run the reference on seven random and up to seven real images, at three alphas. Raises ImageError."""
    config = model.config
    size = config.geometry.image_size
    random = random_images(max(BATCHES), size)
    real = [fit_image(source, size, config.preprocessing) for source in sources[: max(BATCHES)]]
    images = np.stack([*random, *real])
    kinds = ("random",) * len(random) + ("real",) * len(real)
    with torch.no_grad():
        outputs = {alpha: model(normalised(images, config), alpha) for alpha in golden_alphas(config)}
    ee = next(iter(outputs.values())).ee
    return Golden(
        images,
        ee.logits.numpy(),
        ee.scores.numpy(),
        tuple(outputs),
        tuple(out.targets.numpy() for out in outputs.values()),
        tuple(out.logits.numpy() for out in outputs.values()),
        kinds,
    )


def golden_alphas(config: ModelConfig) -> list[float]:
    """Return the possible ones of ALPHAS: a very small grid or window has no room for some. If none is, the model's."""
    possible = []
    for alpha in ALPHAS:
        with contextlib.suppress(UsageError):
            config.num_targets(alpha)
            possible.append(alpha)
    return possible or [config.method.alpha]


def normalised(images: Pixels, config: ModelConfig) -> torch.Tensor:
    """Normalise images [B,S,S,3] uint8 to [B,3,S,S] fp32 by the definition, independently of the runtime's code."""
    mean, std = torch.tensor(config.preprocessing.mean), torch.tensor(config.preprocessing.std)
    return ((torch.from_numpy(images).float() / 255 - mean) / std).permute(0, 3, 1, 2)


def random_images(count: int, size: int) -> Pixels:
    """Draw images [count,S,S,3] of coloured noise at several scales, so that tokens differ as in real images."""
    rng = np.random.default_rng(2503)
    out = np.zeros((count, size, size, 3))
    for cells in (4, 14, 56, size):
        noise = rng.uniform(0, 255, (count, cells, cells, 3)).astype(np.uint8)
        layers = [Image.fromarray(layer).resize((size, size), Image.Resampling.BICUBIC) for layer in noise]
        out += np.stack([np.asarray(layer) for layer in layers]) / 4
    return out.astype(np.uint8)


def shipped_images() -> list[bytes]:
    """Return the encoded photographs that come with the package, by file name."""
    folder = resources.files("sacvit_deploy.export") / "pictures"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".jpg"))
    return [(folder / name).read_bytes() for name in names]
