"""The images of a load, good and bad ones, and what `SACViT.predict` says of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.images.paths import expand

BAD = ("bad/empty", "bad/text", "bad/cut")


@dataclass(frozen=True)
class Pictures:
    """Files by their names, and the right answers; None for a bad image."""

    files: dict[str, bytes]
    expected: dict[str, Prediction | None]


def read_pictures(model: SACViT, folder: Path, eta: float | None = None, alpha: float | None = None) -> Pictures:
    """Read a folder's images, add three that are none, and ask the model for each. eta, alpha: `predict`'s."""
    paths = [Path(path) for path in expand((str(folder),), click.echo)]
    files = {path.name: path.read_bytes() for path in paths}
    half = next(iter(files.values()))
    bad = dict(zip(BAD, (b"", b"no picture", half[: len(half) // 2]), strict=True))
    expected: dict[str, Prediction | None] = {path.name: model.predict(path, eta=eta, alpha=alpha) for path in paths}
    return Pictures({**files, **bad}, {**expected, **dict.fromkeys(BAD)})
