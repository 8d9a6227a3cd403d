"""Files on Ray: paths in, in order; predictions out, as a model's own stream gives them."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacvit_deploy.errors import SacvitError, UsageError, import_library
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.model import SACViT
from sacvit_deploy.prediction import Prediction

CONTINUING = 0.3  # the share of the images that stage 2's batches are laid out for


@dataclass(frozen=True)
class Actors:
    """Processes on Ray: of both stages each, or of stage 1 and of stage 2."""

    first: int
    second: int = 0

    @classmethod
    def parse(cls, text: str) -> Actors:
        """Read `4`, with both stages in each, or `4+2`. Raises UsageError."""
        found = re.fullmatch(r"([1-9]\d{0,5})(?:\+([1-9]\d{0,5}))?", text, re.ASCII)
        if found is None:
            raise UsageError(f"{text!r} is no number of processes; give 4, with both stages in each, or 4+2")
        return cls(int(found[1]), int(found[2] or 0))


class FileStream(Iterator[Prediction | SacvitError]):
    """Answers for image files in their order, from processes on Ray. `begin_files` makes it.

    Each has the `position` of its file. A timing has no steps: they are another machine's.
    """

    dropped = 0  # a folder keeps all of its images

    def __init__(
        self, rows: Iterator[Mapping[str, Any]], model: SACViT, refused: Mapping[int, SacvitError] | None = None
    ) -> None:
        self._rows, self._model = rows, model
        self._refused = dict(refused or {})
        self._position = 0

    def __next__(self) -> Prediction | SacvitError:
        position, self._position = self._position, self._position + 1
        if (refused := self._refused.pop(position, None)) is not None:
            refused.position = position
            return refused
        with ray_errors():
            row = next(self._rows)
        if row["error"] is not None:
            error = SacvitError(row["error"])
            error.position = row["number"]
            return error
        targets = row["targets"]
        return Prediction(
            source=row["path"],
            labels=self._model.labels,
            stage=row["stage"],
            probabilities=np.asarray(row["probabilities"], np.float32),
            stage_one_probability=row["stage_one_probability"],
            grid=self._model.config.geometry.grid,
            targets=None if targets is None else np.asarray(targets, np.int64),
            timing={},
            position=row["number"],
        )

    def close(self) -> None:
        """Leave the answers that are not there yet; what is under way ends with Ray's connection."""
        self._rows = iter(())
        self._refused.clear()

    def __enter__(self) -> FileStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def begin_files(
    model: SACViT,
    actors: Actors,
    how: Mapping[str, Any],
    note: Callable[[str], None],
    paths: Iterable[Any],
    *,
    eta: float,
    alpha: float,
    batch_size: int,
    **pace: Any,
) -> FileStream:
    """Send files to processes on Ray, which open the model's bundle, and return their answers.

    The paths, and the bundle's, must lead to the same files on every machine. how: threads and the like, of `classify`.
    note: takes a remark for the user. paths: may also be images that are refused already. pace: of a stream whose
    source sets it, which a folder does not. Raises BackendError, SacvitError.
    """
    connect()
    import ray.data

    from sacvit_deploy.ray.data import FullCluster, classify

    rows: list[dict[str, Any]] = []
    refused: dict[int, SacvitError] = {}
    for number, path in enumerate(paths):
        if isinstance(path, Claimed) and path.error is not None:
            refused[number] = path.error
        else:
            rows.append({"number": number, "path": os.fspath(path), "file": os.path.abspath(path)})
    if not rows:
        return FileStream(iter(()), model, refused)
    threads, count = how["threads"] or 1, actors.first + actors.second
    each = share(threads, count, ray.cluster_resources().get("CPU", 1.0))
    if (free := ray.available_resources().get("CPU", 0.0)) < each * count - 1e-6:
        note(f"waiting for {each * count:g} of Ray's CPUs, of which {free:g} are free")
    with ray_errors(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FullCluster)  # `share` has seen to it, and paths need no reader
        data = ray.data.from_items(rows, override_num_blocks=max(min(actors.first, len(rows)), len(rows) // batch_size))
        data.context.execution_options.preserve_order = True
        answers = classify(
            data,
            model.bundle.path,
            column="file",
            batch_size=batch_size,
            stage_two_rows=math.ceil(batch_size / CONTINUING),
            stage_one_actors=actors.first,
            stage_two_actors=actors.second,
            num_cpus=each,
            probabilities=True,
            eta=eta,
            alpha=alpha,
            **{**how, "threads": threads},
        )
        return FileStream(iter(answers.iter_rows()), model, refused)


@contextlib.contextmanager
def ray_errors() -> Iterator[None]:
    """Make Ray's exceptions, which are pages, SacvitErrors of one line."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        # What failed there stands last, below all that Ray says of where and how.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        last = (lines or [type(error).__name__])[-1].removeprefix("sacvit_deploy.errors.")
        raise SacvitError(f"a process on Ray failed: {last:.500}") from error


def connect() -> None:
    """Connect to the Ray of `RAY_ADDRESS`, or of this machine, or start one, unless that was done before.

    Raises BackendError where Ray is missing, SacvitError where it can't be reached.
    """
    install = "pip install 'sacvit-deploy[ray]'"
    ray = import_library("ray", "Ray", install)
    import_library("ray.data", "Ray Data", install)
    if ray.is_initialized():
        return
    main = threading.current_thread() is threading.main_thread()
    heeded = signal.getsignal(signal.SIGTERM) if main else None
    try:
        ray.init(log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SacvitError(f"can't connect to Ray ({str(error).strip().splitlines()[0]:.200})") from error
    finally:
        if heeded is not None:
            signal.signal(signal.SIGTERM, heeded)  # Ray puts its own in the place


def share(threads: int, actors: int, cpus: float) -> float:
    """Return the CPUs that each of the actors asks Ray for: its threads, or less where one CPU must stay for others."""
    return threads if threads * actors <= cpus - 1 else max(cpus - 1, cpus / 2) / actors
