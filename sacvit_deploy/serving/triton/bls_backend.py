"""Engines that are other models of the same Triton, called from a Python model (business logic scripting, BLS)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.protocol import as_taken
from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.held import EngineFile, Held
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import STAGES, element_type, engine_contract
from sacvit_deploy.errors import BackendError, first_line


class BlsEngine:
    """A stage's model behind the protocol `Engine`. utils: Triton's module `triton_python_backend_utils`."""

    def __init__(self, utils: Any, role: str, config: ModelConfig, precision: str, outputs: Sequence[str]) -> None:
        self._utils, self._role, self._outputs = utils, role, list(outputs)
        inputs = engine_contract(role, config).inputs
        self._dtypes = {name: np.dtype(element_type(tensor.dtype, precision)) for name, tensor in inputs.items()}

    def input_dtype(self, name: str) -> np.dtype[Any]:
        return self._dtypes[name]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        utils = self._utils
        taken = as_taken(inputs, self._dtypes, self._role)
        response = utils.InferenceRequest(
            model_name=self._role,
            requested_output_names=self._outputs,
            inputs=[utils.Tensor(name, array) for name, array in taken.items()],
            preferred_memory=utils.PreferredMemory(utils.TRITONSERVER_MEMORY_CPU),
        ).exec()
        if response.has_error():
            raise BackendError(
                f"Triton's model {self._role} failed ({first_line(Exception(response.error().message()))})"
            )
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


class BlsBackend:
    """Both stages' models behind the protocol `Backend`. The files that it opens are placeholders of their names."""

    description = "Triton"

    def __init__(self, utils: Any, config: ModelConfig, precision: str) -> None:
        self._utils, self._config, self._precision = utils, config, precision

    def precisions(self, bundle: Bundle) -> list[str]:
        return [self._precision]

    def files(self, bundle: Bundle, precision: str) -> dict[str, Held]:
        return {role: Held(Path(role), np.empty(0, np.uint8)) for role in STAGES}

    def open(self, stage: EngineFile, weights: EngineFile | None) -> BlsEngine:
        outputs = engine_contract(stage.name, self._config).outputs
        return BlsEngine(self._utils, stage.name, self._config, self._precision, list(outputs))

    def device(self, files: Mapping[str, EngineFile]) -> None:
        return None
