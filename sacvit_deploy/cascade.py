"""The two engines of one variant, with arrays in and out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.backends.protocol import Backend, Engine
from sacvit_deploy.clock import Clock
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.glue import StageTwoRequest, build_request, choose_targets
from sacvit_deploy.images.preprocess import low_view


@dataclass(frozen=True)
class StageTwoResult:
    """Stage 2 on B images for one choice of targets: logits [B,C] fp32, targets [B,M], seconds of glue and engine."""

    logits: Array
    targets: Index
    gather_seconds: float
    sac_seconds: float


@dataclass(frozen=True)
class BothStages:
    """Both stages on the same B images: the EE engine's outputs, stage 2 for each selection, seconds of stage 1."""

    ee: Mapping[str, Array]
    sac: Sequence[StageTwoResult]
    view_seconds: float
    ee_seconds: float


class Cascade:
    """EE and SAC engine over one backend; each is opened by its first call. Safe to use from several threads."""

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
        """Tells whether an image has continued yet; until then the SAC engine takes neither time nor memory."""
        return "sac" in self._engines

    def low_view(self, images: Sequence[Pixels] | Pixels) -> Array:
        """Return the EE engine's input [B,3,S/2,S/2] for B images [S,S,3] uint8."""
        return low_view(images, self.config.method.downsample, self.config.preprocessing)

    def stage_one(self, low: Array) -> dict[str, Array]:
        """Run the EE engine on [B,3,S/2,S/2]: logits, scores, features, embeddings."""
        return self._engine("ee").run({"image": low})

    def targets(self, scores: Array, count: int) -> Index:
        """Choose M = `count` targets [B,M] from stage 1's scores [B,N], which must be finite."""
        return choose_targets(scores, count, self.config)

    def request(
        self,
        images: Sequence[Pixels] | Mapping[int, Pixels] | Pixels,
        ee: Mapping[str, Array],
        rows: Index,
        targets: Index,
    ) -> StageTwoRequest:
        """Build the stage-2 request for the images `rows` of a batch and their targets [rows,M]."""
        return build_request(images, ee, rows, targets, self.config)

    def stage_two(self, inputs: Mapping[str, Array]) -> Array:
        """Run the SAC engine on a request's inputs: logits [B,C]."""
        return self._engine("sac").run(inputs)["logits"]

    def run_both(self, images: Sequence[Pixels] | Pixels, selections: Sequence[int | Index]) -> BothStages:
        """Run stage 1, then stage 2 for each selection, on B images [S,S,3], whatever the gate would say.

        selections: M, to choose from stage 1's scores (those that are not finite count as 0), or targets [B,M].
        """
        clock = Clock()
        low = self.low_view(images)
        view_seconds = clock.lap()
        ee = self.stage_one(low)
        ee_seconds = clock.lap()
        rows = np.arange(len(images), dtype=np.int64)
        results = []
        for selection in selections:
            clock.lap()
            chosen = self.targets(np.nan_to_num(ee["scores"]), selection) if isinstance(selection, int) else selection
            inputs = self.request(images, ee, rows, chosen).inputs(self.config)
            gather_seconds = clock.lap()
            results.append(StageTwoResult(self.stage_two(inputs), chosen, gather_seconds, clock.lap()))
        return BothStages(ee, results, view_seconds, ee_seconds)

    def _engine(self, role: str) -> Engine:
        with self._lock:
            if role not in self._engines:
                self._engines[role] = self.backend.open(self._files[role], self._files.get("weights"))
            return self._engines[role]
