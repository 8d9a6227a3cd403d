"""The two engines of one variant."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from sacvit_deploy.arrays import Array, Pixels
from sacvit_deploy.backends.protocol import Backend, Engine
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.images.preprocess import low_view


class Cascade:
    """EE and SAC engine over one backend, with arrays in and out; each is opened by its first call.

    Safe to use from several threads.
    """

    def __init__(self, backend: Backend, files: Mapping[str, Path], config: ModelConfig) -> None:
        self.config = config
        self.backend = backend
        self._files = files
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def warm(self) -> None:
        """Open the EE engine now. Raises BackendError."""
        self._engine("ee")

    @property
    def sac_opened(self) -> bool:
        """Whether a picture has continued yet; until then the SAC engine takes neither time nor memory."""
        return "sac" in self._engines

    def low_view(self, images: Sequence[Pixels] | Pixels) -> Array:
        """B pictures [S,S,3] uint8 -> the EE engine's input."""
        return low_view(images, self.config.method.downsample, self.config.preprocessing)

    def stage_one(self, low: Array) -> dict[str, Array]:
        """Run the EE engine on [B,3,S/2,S/2]: logits, scores, features, embeddings."""
        return self._engine("ee").run({"image": low})

    def stage_two(self, inputs: Mapping[str, Array]) -> Array:
        """Run the SAC engine on a request's inputs: logits [B,C]."""
        return self._engine("sac").run(inputs)["logits"]

    def _engine(self, role: str) -> Engine:
        with self._lock:
            if role not in self._engines:
                self._engines[role] = self.backend.open(self._files[role], self._files.get("weights"))
            return self._engines[role]
