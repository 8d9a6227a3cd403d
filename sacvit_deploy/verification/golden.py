"""Golden vectors: images with the fp32 reference's answers.

The export measures parity with them, and a few travel in the bundle, so that `sacvit verify` can repeat the check on
the device, where there is no torch.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.errors import BundleError

DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error)


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


def load_golden(path: Path) -> Golden:
    """Read golden vectors that `Golden.save` wrote. Raises BundleError."""
    try:
        with np.load(path, allow_pickle=False) as data:
            alphas = tuple(float(alpha) for alpha in data["alphas"])
            return Golden(
                data["images"],
                data["ee_logits"],
                data["scores"],
                alphas,
                tuple(data[f"targets_{number}"] for number in range(len(alphas))),
                tuple(data[f"sac_logits_{number}"] for number in range(len(alphas))),
                tuple(str(kind) for kind in data["kinds"]),
            )
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, *DAMAGED_ZIP) as error:
        raise BundleError(f"{path} holds no golden vectors ({error})") from error
