"""Both stages as steps of a Ray Data pipeline: images in, labels out, in as many processes as each stage needs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.data import ActorPoolStrategy

from sacvit_deploy.model import SACViT
from sacvit_deploy.ray.columns import (
    add_answers,
    add_stage_one,
    add_stage_two,
    image_column,
    read_images,
    read_requests,
)
from sacvit_deploy.stage_one import StageOne
from sacvit_deploy.stage_two import StageTwo


class StageOneActor:
    """Stage 1, for `Dataset.map_batches` with batch_format="pyarrow".

    Takes rows with an image each, gives them without it: with the answer where it exits, with a `request` to stage 2
    where it continues, with an `error` where it is bad. column: the images'; None takes `bytes`, `image` or `path`,
    what there is first. probabilities: also a column of those of all
    classes [C] fp32. The other arguments are `StageOne`'s. Raises what opening raises; UsageError for a wrong eta.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        eta: float | None = None,
        alpha: float | None = None,
        column: str | None = None,
        probabilities: bool = False,
        **how: Any,
    ) -> None:
        self._one, self._column, self._probabilities = StageOne(bundle, **how), column, probabilities
        self._eta, self._alpha = eta, alpha

    def __call__(self, table: Any) -> Any:
        """Run stage 1 on a table. Raises UsageError where it has no images, BackendError."""
        column = image_column(table.column_names, self._column)
        results = self._one.predict_batch(read_images(table, column), eta=self._eta, alpha=self._alpha)
        return add_stage_one(table, column, results, probabilities=self._probabilities)


class StageTwoActor:
    """Stage 2, for `Dataset.map_batches` with batch_format="pyarrow": answers the requests, lets other rows pass.

    The arguments are `StageTwo`'s.
    """

    def __init__(self, bundle: str | os.PathLike[str], **how: Any) -> None:
        self._two = StageTwo(bundle, **how)

    def __call__(self, table: Any) -> Any:
        """Run stage 2 on a table that StageOneActor gave. Raises BackendError."""
        requests = read_requests(table)
        answers = self._two.predict_batch(list(requests.values()))
        return add_stage_two(table, dict(zip(requests, answers, strict=True)))


class CascadeActor:
    """Both stages, for `Dataset.map_batches` with batch_format="pyarrow": takes and gives what the two actors do.

    batch_size: of the engines' calls, 64 unless given. The other arguments are StageOneActor's.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        *,
        eta: float | None = None,
        alpha: float | None = None,
        column: str | None = None,
        probabilities: bool = False,
        batch_size: int | None = None,
        threads: int = 1,
        decode: str = "cpu",
        **how: Any,
    ) -> None:
        self._model = SACViT(bundle, threads=threads, decode=decode, **how)
        self._column, self._probabilities = column, probabilities
        workers = threads if decode == "cpu" else None  # a GPU decodes as many at once as threads wait for it
        self._stream = partial(self._model.stream, eta=eta, alpha=alpha, batch_size=batch_size, workers=workers)

    def __call__(self, table: Any) -> Any:
        """Answer a table's images. Raises UsageError where it has none, BackendError."""
        column = image_column(table.column_names, self._column)
        results = list(self._stream(read_images(table, column)))
        return add_answers(table, column, results, probabilities=self._probabilities)


def classify(
    dataset: Any,
    bundle: str | os.PathLike[str],
    *,
    eta: float | None = None,
    alpha: float | None = None,
    column: str | None = None,
    batch_size: int = 32,
    stage_two_rows: int = 96,
    stage_one_actors: int | tuple[int, int] = 1,
    stage_two_actors: int | tuple[int, int] = 1,
    threads: int = 1,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    precision: str = "auto",
    backend: str = "auto",
    device: str | None = None,
    scaled: bool = False,
    max_pixels: int | None = None,
    max_memory: int | None = None,
    decode: str = "cpu",
    probabilities: bool = False,
) -> Any:
    """Return a Ray dataset with labels in place of images, lazily, as Ray Data does everything.

    dataset: rows with an image each, of `read_binary_files(..., include_paths=True)`, `read_images` or `read_parquet`.
    stage_one_actors, stage_two_actors: how many processes, or (from, to) to let Ray scale them; each takes `num_cpus`,
    by default as many as `threads`, or `num_gpus`, for as long as the pipeline runs. stage_two_actors=0: the first ones
    run both stages, so that none waits for the other where there are few. stage_two_rows: rows of which those that
    continue are one batch of stage 2: batch_size over the share that continues. probabilities: also a column of those
    of all classes. The rest are `SACViT`'s arguments; name the precision where the cluster's machines differ.
    """
    folder = str(Path(bundle).absolute())
    how = {"threads": threads, "precision": precision, "backend": backend, "device": device}
    each = threads if num_cpus is None else num_cpus
    resources = {"num_cpus": each} if num_gpus is None else {"num_gpus": num_gpus, "num_cpus": num_cpus or 0}
    if num_gpus is None:
        warn_of_full_cluster(each * sum(least(actors) for actors in (stage_one_actors, stage_two_actors)))
    both = stage_two_actors == 0
    limits = {"max_pixels": max_pixels, "max_memory": max_memory}
    decoding = {"column": column, "scaled": scaled, "decode": decode, **limits}
    answering = {**how, **decoding, "eta": eta, "alpha": alpha, "probabilities": probabilities}
    first = dataset.map_batches(
        CascadeActor if both else StageOneActor,
        fn_constructor_args=(folder,),
        fn_constructor_kwargs=answering | ({"batch_size": batch_size} if both else {}),
        batch_size=2 * batch_size if both else batch_size,  # in turn: one is decoded while the other is computed
        batch_format="pyarrow",
        compute=pool(stage_one_actors),
        **resources,
    )
    if both:
        return first
    return first.map_batches(
        StageTwoActor,
        fn_constructor_args=(folder,),
        fn_constructor_kwargs=how,
        batch_size=stage_two_rows,
        batch_format="pyarrow",
        compute=pool(stage_two_actors),
        **resources,
    )


def pool(actors: int | tuple[int, int]) -> ActorPoolStrategy:
    """Return Ray's pool of so many actors, or of (from, to)."""
    low, high = (actors, actors) if isinstance(actors, int) else actors
    return ActorPoolStrategy(min_size=low, max_size=high, initial_size=low)


def least(actors: int | Sequence[int]) -> int:
    """Return the smallest number of actors that a pipeline starts with."""
    return actors if isinstance(actors, int) else actors[0]


class FullCluster(UserWarning):
    """A pipeline may wait for ever."""


def warn_of_full_cluster(cpus: float) -> None:
    """Warn where actors take every CPU that Ray has now: the tasks that read images would wait for one for ever."""
    if ray.is_initialized() and (total := ray.cluster_resources().get("CPU", 0.0)) - cpus < 1 - 1e-6:
        warnings.warn(
            f"the actors of both stages take {cpus:g} of Ray's {total:g} CPUs, and reading images needs one more; give "
            "num_cpus= below 1, or ray.init(num_cpus=) more, unless the cluster grows by itself",
            FullCluster,
            stacklevel=3,
        )
