"""One stage of a bundle, opened by itself: what `StageOne` and `StageTwo` have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import BackendError, UsageError
from sacvit_deploy.images.budget import limits
from sacvit_deploy.opened import OpenedStages, Opening, open_stages

S = TypeVar("S", bound="SingleStage")
R = TypeVar("R")


class SingleStage:
    """A bundle opened for one stage. role: of `contract.STAGES`. The engine takes arrays, also on a device."""

    role: ClassVar[str]

    def __init__(self, bundle: str | os.PathLike[str] | None, **how: Any) -> None:
        self._how = how  # the constructor's own arguments, to be pickled
        self._folder = Path(find_bundle() if bundle is None else bundle).absolute()
        self._opened: OpenedStages | None = open_both(self._folder, (self.role,), **how)

    @classmethod
    def sharing(cls: type[S], folder: Path, opened: OpenedStages, **how: Any) -> S:
        """Return the stage over engines that were opened for both; its pickle opens its own."""
        stage = cls.__new__(cls)
        stage._how, stage._folder, stage._opened = how, folder, opened
        return stage

    @property
    def opened(self) -> OpenedStages:
        """The bundle as it was opened. Raises UsageError after `close`."""
        if (opened := self._opened) is None:
            raise UsageError(f"this stage was closed; open {self._folder} anew, with {type(self).__name__}")
        return opened

    @property
    def bundle(self) -> Bundle:
        """The opened bundle: path, manifest, labels."""
        return self.opened.bundle

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.opened.bundle.manifest.config

    @property
    def precision(self) -> str:
        """The variant's precision."""
        return self.opened.precision

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names."""
        return self.opened.bundle.labels

    @property
    def variant(self) -> str:
        """Digest of the opened variant: requests are answered where it is the same."""
        return self.opened.variant

    def close(self: S) -> None:
        """Let go of the engine; using the stage afterwards is a UsageError."""
        self._opened = None

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder and the options; unpickling opens the bundle anew, for this stage alone."""
        return partial(type(self), self._folder, **self._how), ()


def open_both(folder: Path, stages: tuple[str, ...], **how: Any) -> OpenedStages:
    """Open the named stages, whose options are the constructor's arguments of `StageOne`.

    Raises BundleError, BackendError, UsageError.
    """
    defaults: dict[str, Any] = asdict(Opening("auto", None, "auto", None, "packed", False, False))
    opening = Opening(**{**defaults, **how})
    return open_stages(folder, opening, limits(opening.max_pixels, opening.max_memory), stages)


def run_groups(
    groups: Mapping[int, Sequence[int]],
    run: Callable[[int, Sequence[int]], Sequence[R]],
    failed: Callable[[int, BackendError], R],
) -> dict[int, R]:
    """Run a batch's rows in a call for each M, and return the results by row. groups: the rows by M.

    failed: makes the result of a row whose call failed, which so costs the other rows nothing. Raises BackendError
    where no call succeeds: then the batch is not what is wrong.
    """
    results: dict[int, R] = {}
    errors: dict[int, BackendError] = {}
    for count, rows in groups.items():
        try:
            results |= zip(rows, run(count, rows), strict=True)
        except BackendError as error:
            errors[count] = error
    if errors and len(errors) == len(groups):
        raise next(iter(errors.values()))
    return results | {row: failed(row, error) for count, error in errors.items() for row in groups[count]}
