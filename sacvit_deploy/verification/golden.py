"""Golden vectors: images with the fp32 reference's answers.

The export measures parity with them, and a few travel in the bundle, so that `sacvit verify` can repeat the check on
the device, where there is no torch.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import BundleError, first_line
from sacvit_deploy.regular import read_regular
from sacvit_deploy.verification.npy import Archive

# Of a file in a bundle: an export writes a few images and three alphas.
MOST_IMAGES, MOST_ALPHAS, BUDGET = 256, 16, 512 << 20
KIND_BYTES = 4 * 32  # numpy has four bytes a letter
# What zipfile and numpy raise for files that are damaged, encrypted or of another make.
REFUSALS = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


@dataclass(frozen=True)
class Golden:
    """K images and the fp32 reference's outputs.

    images [K,S,S,3] uint8; ee_logits [K,C]; scores [K,N]; for each alpha the targets [K,M] and stage 2's logits [K,C].
    kinds: "random" or "real", one per image.
    """

    images: Pixels
    ee_logits: Array
    scores: Array
    alphas: tuple[float, ...]
    targets: tuple[Array, ...]
    sac_logits: tuple[Array, ...]
    kinds: tuple[str, ...]

    def pick(self, rows: Sequence[int]) -> Golden:
        """Return the images `rows` and their outputs."""
        at = list(rows)
        return replace(
            self,
            images=self.images[at],
            ee_logits=self.ee_logits[at],
            scores=self.scores[at],
            targets=tuple(targets[at] for targets in self.targets),
            sac_logits=tuple(logits[at] for logits in self.sac_logits),
            kinds=tuple(self.kinds[row] for row in at),
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz with fixed time stamps, so that equal vectors give equal bytes."""
        arrays: dict[str, Array] = {
            "images": self.images,
            "ee_logits": self.ee_logits,
            "scores": self.scores,
            "alphas": np.array(self.alphas),
            "kinds": np.array(self.kinds),
        }
        for number in range(len(self.alphas)):
            arrays[f"targets_{number}"] = self.targets[number]
            arrays[f"sac_logits_{number}"] = self.sac_logits[number]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def load_golden(path: Path, config: ModelConfig) -> Golden:
    """Read golden vectors that `Golden.save` wrote, of the model that `config` describes. Raises BundleError."""
    try:
        limit = min(BUDGET, path.stat().st_size)  # memory is taken for as many bytes as may come
        return _read(Archive(read_regular(path, limit), BUDGET), config)
    except REFUSALS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
        raise BundleError(f"{path} holds no golden vectors ({reason}); export the bundle again") from error


def _read(archive: Archive, config: ModelConfig) -> Golden:
    side, classes, tokens = config.geometry.image_size, config.geometry.classes, config.geometry.tokens
    count, *rest = archive.header("images").shape
    if rest != [side, side, 3] or not 1 <= count <= MOST_IMAGES:
        raise ValueError(f"`images` is {[count, *rest]}, not up to {MOST_IMAGES} images of {side} pixels")
    (levels,), kind = archive.header("alphas").shape, archive.header("kinds").dtype
    if not 1 <= levels <= MOST_ALPHAS or kind.kind != "U" or kind.itemsize > KIND_BYTES:
        raise ValueError("it has other alphas or kinds of images than an export writes")
    alphas = tuple(float(alpha) for alpha in archive.read("alphas", (levels,), "float64"))
    targets = tuple(
        archive.read(f"targets_{number}", (count, config.num_targets(alpha)), "int64")
        for number, alpha in enumerate(alphas)
    )
    if any(rows.min() < 0 or rows.max() >= tokens for rows in targets):
        raise ValueError(f"it names targets beyond the {tokens} tokens")
    golden = Golden(
        archive.read("images", (count, side, side, 3), "uint8"),
        archive.read("ee_logits", (count, classes), "float32"),
        archive.read("scores", (count, tokens), "float32"),
        alphas,
        targets,
        tuple(archive.read(f"sac_logits_{number}", (count, classes), "float32") for number in range(levels)),
        tuple(str(name) for name in archive.read("kinds", (count,), kind)),
    )
    if not all(name.isascii() for name in golden.kinds):
        raise ValueError("the kinds of its images are no words")
    if not all(np.isfinite(array).all() for array in (golden.ee_logits, golden.scores, *golden.sac_logits)):
        raise ValueError("its answers hold NaN or infinity")
    return golden
