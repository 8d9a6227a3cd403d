"""The two engines of one variant, with arrays in and out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sacvit_deploy.arrays import Array, Index, Pixels
from sacvit_deploy.backends.protocol import Backend, Engine
from sacvit_deploy.bundle.held import EngineFile, Held, hold_all
from sacvit_deploy.clock import Clock
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import STAGES, Sizes, engine_contract
from sacvit_deploy.errors import BackendError, BundleError
from sacvit_deploy.forks import forget_in_children, keep_forever, no_fork
from sacvit_deploy.glue import StageTwoInputs, build_request
from sacvit_deploy.images.preprocess import low_view
from sacvit_deploy.selection import choose_targets


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
    """EE and SAC engine over one backend; each is opened by its first call. Safe to use from several threads.

    The files are read at once, and kept until the engines are open: what happens to them later is no matter. again:
    reads the same files for a forked child, which opens engines of its own; None where there is no such child. stages:
    the engines that may be asked for, both unless one is all that this process runs.
    """

    def __init__(
        self,
        backend: Backend,
        files: Mapping[str, EngineFile],
        config: ModelConfig,
        again: Callable[[], Mapping[str, EngineFile]] | None = None,
        stages: Sequence[str] = STAGES,
    ) -> None:
        self.config = config
        self.backend = backend
        self._stages = tuple(stages)
        self._files: dict[str, Held] | None = _of_stages(files, self._stages)
        self._names = {role: file.name for role, file in self._files.items()}
        self._again = again
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()
        forget_in_children(self)

    def forget(self) -> None:
        """Begin anew in a forked child: the engines of before the fork are neither used nor freed."""
        keep_forever(self._engines)
        self._files, self._engines = None, {}

    def warm(self, *, both: bool = False) -> None:
        """Open the first engine now: EE, unless SAC is all there is. both: the other, too. Raises BackendError."""
        for stage in self._stages if both else self._stages[:1]:
            self._engine(stage)

    @property
    def sac_opened(self) -> bool:
        """Tells whether an image has continued yet; until then the SAC engine takes neither time nor memory."""
        return "sac" in self._engines

    def low_view(self, images: Sequence[Pixels] | Pixels) -> Array:
        """Return the EE engine's input [B,3,S/2,S/2] for B images [S,S,3] uint8."""
        return low_view(images, self.config.method.downsample, self.config.preprocessing)

    def stage_one(self, low: Array) -> dict[str, Array]:
        """Run the EE engine on [B,3,S/2,S/2]: logits, scores, features, embeddings."""
        return self._run("ee", {"image": low}, Sizes(len(low)))

    def targets(self, scores: Array, count: int) -> Index:
        """Choose M = `count` targets [B,M] from stage 1's scores [B,N], which must be finite."""
        return choose_targets(scores, count, self.config)

    def request(
        self,
        images: Sequence[Pixels] | Mapping[int, Pixels] | Pixels,
        ee: Mapping[str, Array],
        rows: Index,
        targets: Index,
    ) -> StageTwoInputs:
        """Build the stage-2 request for the images `rows` of a batch and their targets [rows,M]."""
        return build_request(images, ee, rows, targets, self.config)

    def stage_two(self, inputs: Mapping[str, Array]) -> Array:
        """Run the SAC engine on a request's inputs: logits [B,C]."""
        return self._run("sac", inputs, Sizes(len(next(iter(inputs.values())))))["logits"]

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

    def _run(self, role: str, inputs: Mapping[str, Array], sizes: Sizes) -> dict[str, Array]:
        """Run an engine. Raises BackendError where it gives what the contract does not say: it is another model's."""
        outputs = self._engine(role).run(inputs)
        for name, contract in engine_contract(role, self.config).outputs.items():
            array, shape = outputs.get(name), contract.at(sizes)
            if not isinstance(array, np.ndarray) or array.dtype.kind != "f" or array.shape != shape:
                given = "nothing" if array is None else f"{getattr(array, 'dtype', '?')} {list(np.shape(array))}"
                raise BackendError(
                    f"{self._names[role]} gives {given} as `{name}`, where this model has {list(shape)}; the "
                    "bundle's engines are of another model"
                )
        return outputs

    def _engine(self, role: str) -> Engine:
        if role not in self._stages:
            raise BackendError(
                f"stage {' and '.join(self._stages)} alone was opened here, and {role} is asked for; open SACViT "
                "without stage_two= for both"
            )
        with no_fork(), self._lock:
            if role not in self._engines:
                if self._files is None:
                    self._files = self._files_again()
                self._engines[role] = self.backend.open(self._files[role], self._files.get("weights"))
                if len(self._engines) == len(self._stages):
                    self._files.clear()
            return self._engines[role]

    def _files_again(self) -> dict[str, Held]:
        if self._again is None:
            raise BackendError("these engines were opened before the process was forked; open them in the child")
        try:
            return _of_stages(self._again(), self._stages)
        except BundleError as error:
            raise BundleError(
                f"a forked process reads the bundle again, and it is not what was opened before ({error}); call "
                "reload() there, or open it there"
            ) from error


def _of_stages(files: Mapping[str, EngineFile], stages: Sequence[str]) -> dict[str, Held]:
    """Return the stages' files and their weights, in memory. Raises BundleError."""
    return hold_all({role: file for role, file in files.items() if role in (*stages, "weights")})
