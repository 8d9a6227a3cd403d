"""What every step of the check is told, and how a step says that it can't be run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, str | int | float | None]  # one line of a step's table


@dataclass(frozen=True)
class Settings:
    """Settings of a check; they travel to the steps as JSON.

    speed: the bundle whose speed is measured, of random weights; example: a trained one, whose labels are compared,
    on `pictures`, a folder, and on mosaics.
    batches: in the order they are measured. share: of the images, made to continue. least: images of a pass.
    images: mosaics. rounds: that count. seconds: for which a repeated call is measured. workers: threads that put
    images where a device reads them, or decode them.
    """

    device: str
    precision: str
    speed: Path
    example: Path
    pictures: Path | None = None
    batches: tuple[int, ...] = (128, 1, 32, 512, 8, 1024)
    share: float = 0.23
    least: int = 128
    images: int = 500
    rounds: int = 3
    seconds: float = 0.25
    workers: int = 4

    def to_json(self) -> str:
        """Write the settings."""
        return json.dumps(asdict(self), default=str)

    @property
    def on_cpu(self) -> bool:
        """Tell whether this is a trial without a GPU."""
        return self.device == "cpu"


def read_settings(text: str) -> Settings:
    """Read what `to_json` wrote."""
    data: dict[str, Any] = json.loads(text)
    paths = {name: data[name] and Path(data[name]) for name in ("speed", "example", "pictures")}
    return Settings(**{**data, **paths, "batches": tuple(data["batches"])})
