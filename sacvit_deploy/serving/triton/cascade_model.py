"""The model that clients call: gates, gathers and re-batches between the models `ee` and `sac`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.bundle.bundle import open_bundle
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import BackendError, OutputError, SacvitError, UsageError
from sacvit_deploy.glue import check_eta
from sacvit_deploy.images.budget import Limits, limits
from sacvit_deploy.images.decode import lift_pillows_limit
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.item import Item
from sacvit_deploy.opened import OpenedStages, Opening
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.preparing import Preparer
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.serving.triton.bls_backend import BlsBackend
from sacvit_deploy.serving.triton.layout import (
    ALPHA,
    BUNDLE,
    ETA,
    FAILED,
    MAX_MEMORY,
    MAX_PIXELS,
    NO_TARGET,
    PRECISION,
    TARGETS,
)
from sacvit_deploy.stage_one import StageOne, StageOneResult
from sacvit_deploy.stage_two import StageTwo


@dataclass
class Call:
    """One client's request: its images, gate and M, and the answers as they come. error: what is wrong with it all."""

    items: list[Item] = field(default_factory=list)
    eta: float = 0.0
    count: int = 0
    answers: list[Prediction | SacvitError] = field(default_factory=list)
    error: SacvitError | None = None


class CascadeModel:
    """A Triton Python model: images in, predictions out. A bad image costs its own row, a bad request itself alone."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the part of the bundle beside the model; the engines are those of the models `ee` and `sac`."""
        import triton_python_backend_utils as utils  # there inside Triton alone

        self._utils = utils
        given = json.loads(args["model_config"])["parameters"]
        parameters = {key: value["string_value"] for key, value in given.items()}
        self._defaults = {name: parameters[name] for name in (ETA, ALPHA)}
        self._targets: tuple[int, int] | None = None
        if TARGETS in parameters:
            low, high = map(int, parameters[TARGETS].split())
            self._targets = low, high
        precision = parameters[PRECISION]
        folder = Path(args["model_repository"], args["model_version"], BUNDLE)
        bundle = open_bundle(folder)
        config = self._config = bundle.manifest.config
        backend = BlsBackend(utils, config, precision)
        cascade = Cascade(backend, backend.files(bundle, precision), config)
        opened = OpenedStages(bundle, precision, cascade, Preparer(config, read_limits(parameters)))
        self._one = StageOne.sharing(folder, opened, Opening())
        self._two = StageTwo.sharing(folder, opened, Opening())

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer the requests that Triton's dynamic batcher has brought together."""
        calls = [self._read(request) for request in requests]
        self._answer([call for call in calls if call.error is None])
        return [self._respond(*pair) for pair in zip(requests, calls, strict=True)]

    def _read(self, request: Any) -> Call:
        try:
            values = {**self._defaults, **json.loads(request.parameters() or "{}")}
            eta, count = read_gate(values, self._config, self._targets)
            tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            return Call(self._items(tensors, request.request_id() or "request"), eta, count)
        except SacvitError as error:
            return Call(error=error)

    def _items(self, tensors: dict[str, Array], name: str) -> list[Item]:
        """Return a request's images as they enter stage 1; those that are encoded are decoded in threads."""
        if len(tensors) != 1:
            raise UsageError(
                f"{name} has {len(tensors)} inputs; give `image`, pixels [B,S,S,3], or `encoded`, files [B,1]"
            )
        if (pixels := tensors.get("image")) is not None:
            return [Item(f"{name}[{row}]", image) for row, image in enumerate(pixels)]
        files = tensors["encoded"].reshape(-1)
        return self._one.prepare_batch([Claimed(f"{name}[{row}]", bytes(file)) for row, file in enumerate(files)])

    def _answer(self, calls: Sequence[Call]) -> None:
        """Run stage 1 on all images, and stage 2 on those of them that continue.

        Where a stage's model fails, that is the answer of the images that needed it; here, where it fails for every M.
        """
        items = [item for call in calls for item in call.items]
        etas = np.array([call.eta for call in calls for _ in call.items])
        counts = [call.count for call in calls for _ in call.items]
        results: Sequence[StageOneResult]
        try:
            results = self._one.run_each(items, etas, counts)
        except BackendError as error:
            results = [item.error or error for item in items]
        try:
            answers = self._two.predict_batch(results)
        except BackendError as error:
            answers = [error if isinstance(result, StageTwoRequest) else result for result in results]
        each = iter(answers)
        for call in calls:
            call.answers = [next(each) for _ in call.items]

    def _respond(self, request: Any, call: Call) -> Any:
        utils = self._utils
        failed = [answer for answer in call.answers if isinstance(answer, SacvitError)]
        error = call.error or (failed[0] if failed and len(failed) == len(call.answers) else None)
        if error is not None:
            ours = isinstance(error, (BackendError, OutputError))  # no other request would have helped
            code = utils.TritonError.INTERNAL if ours else utils.TritonError.INVALID_ARG
            return utils.InferenceResponse(error=utils.TritonError(str(error), code))
        wanted = set(request.requested_output_names())
        outputs = output_tensors(call.answers, call.count, self._config.geometry.classes)
        return utils.InferenceResponse([utils.Tensor(name, outputs[name]) for name in outputs if name in wanted])


def read_limits(parameters: Mapping[str, str]) -> Limits:
    """Return the limits of an image that a config has; the defaults where it has none. Raises UsageError."""
    values = {name: int(parameters[name]) for name in (MAX_PIXELS, MAX_MEMORY) if name in parameters}
    if MAX_PIXELS in values:
        lift_pillows_limit(values[MAX_PIXELS])
    return limits(**values)


def read_gate(values: dict[str, Any], config: ModelConfig, targets: tuple[int, int] | None = None) -> tuple[float, int]:
    """Return eta and M of a request's parameters, numbers or text. Raises UsageError.

    targets: the least and the most M that stage 2's plan takes; None where any will do.
    """
    numbers = {}
    for name in (ETA, ALPHA):
        try:
            numbers[name] = float(values[name])
        except (TypeError, ValueError) as error:
            raise UsageError(f"the parameter {name} is {values[name]!r:.80}; it must be a number") from error
    count = config.num_targets(numbers[ALPHA])
    if targets is not None and not targets[0] <= count <= targets[1]:
        raise UsageError(
            f"alpha is {numbers[ALPHA]:g}, which makes {count} targets, and the plans take {targets[0]} to "
            f"{targets[1]}; give another alpha"
        )
    return check_eta(numbers[ETA]), count


def output_tensors(answers: Sequence[Prediction | SacvitError], count: int, classes: int) -> dict[str, Array]:
    """Return the outputs for B answers, B rows each. An image without an answer has its error, stage 0, index -1.

    targets: [B,M], all -1 where stage 2 did not answer; probabilities [B,C], all NaN where nothing did.
    """
    size = len(answers)
    columns: dict[str, Any] = {
        "label": np.full((size, 1), b"", object),
        "index": np.full((size, 1), -1, np.int32),
        "probability": np.full((size, 1), np.nan, np.float32),
        "stage": np.full((size, 1), FAILED, np.int32),
        "stage_one_probability": np.full((size, 1), np.nan, np.float64),
        "probabilities": np.full((size, classes), np.nan, np.float32),
        "targets": np.full((size, count), NO_TARGET, np.int32),
        "error": np.full((size, 1), b"", object),
    }
    for row, answer in enumerate(answers):
        if isinstance(answer, SacvitError):
            columns["error"][row, 0] = str(answer).encode()
            continue
        columns["label"][row, 0] = answer.label.encode()
        columns["index"][row] = answer.index
        columns["probability"][row] = answer.probability
        columns["stage"][row] = answer.stage
        columns["stage_one_probability"][row] = answer.stage_one_probability
        columns["probabilities"][row] = answer.probabilities
        if answer.targets is not None:
            columns["targets"][row] = answer.targets
    return columns
