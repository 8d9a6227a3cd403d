"""One stage's engine as a Triton Python model, where Triton has no backend that runs the engine itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.contract import engine_contract
from sacvit_deploy.errors import SacvitError
from sacvit_deploy.opened import Opening
from sacvit_deploy.serving.triton.layout import BACKEND, BUNDLE, PRECISION, ROLE, THREADS
from sacvit_deploy.single_stage import open_as


class StageModel:
    """A Triton Python model with an engine's inputs and outputs, over the backend that the config names."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the engine."""
        import triton_python_backend_utils as utils  # there inside Triton alone

        self._utils = utils
        values = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        self._role = values[ROLE]
        folder = Path(args["model_repository"], args["model_version"], BUNDLE)
        how = Opening(backend=values[BACKEND], precision=values[PRECISION], threads=int(values[THREADS]))
        opened = open_as(folder, how, (self._role,))
        self._cascade = opened.cascade
        self._inputs = list(engine_contract(self._role, opened.bundle.manifest.config).inputs)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run the engine once on the requests that Triton's dynamic batcher has brought together.

        It brings together what has the same shapes but for the batch, so the same M.
        """
        utils = self._utils
        given = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
        try:
            outputs = self._run({name: np.concatenate([each[name] for each in given]) for name in self._inputs})
        except SacvitError as error:
            return [utils.InferenceResponse(error=utils.TritonError(str(error))) for _ in requests]
        ends = np.cumsum([len(each[self._inputs[0]]) for each in given])[:-1]
        parts = {name: np.split(array, ends) for name, array in outputs.items()}
        return [
            utils.InferenceResponse(
                [
                    utils.Tensor(name, np.ascontiguousarray(parts[name][number]))
                    for name in request.requested_output_names()
                ]
            )
            for number, request in enumerate(requests)
        ]

    def _run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        if self._role == "ee":
            return self._cascade.stage_one(inputs["image"])
        return {"logits": self._cascade.stage_two(inputs)}
