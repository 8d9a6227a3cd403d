"""One stage of a bundle, opened by itself: what `StageOne` and `StageTwo` have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.errors import BackendError
from sacvit_deploy.handle import Handle
from sacvit_deploy.images.budget import limits
from sacvit_deploy.opened import OpenedStages, Opening, open_stages

S = TypeVar("S", bound="SingleStage")
R = TypeVar("R")


class SingleStage(Handle[OpenedStages]):
    """A bundle opened for one stage, whose engine takes arrays, also on a device.

    role: of `contract.STAGES`. options: the constructor's arguments beside the bundle, fields of `Opening`.
    """

    kind = "stage"
    role: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ("backend", "device", "precision", "threads", "weights")

    def __init__(
        self,
        bundle: str | os.PathLike[str] | None = None,
        *,
        backend: str = "auto",
        device: str | None = None,
        precision: str = "auto",
        threads: int | None = None,
        weights: str = "packed",
    ) -> None:
        self._open(bundle, Opening(backend, device, precision, threads, weights))

    def _open(self, bundle: str | os.PathLike[str] | None, how: Opening) -> None:
        folder = Path(find_bundle() if bundle is None else bundle).absolute()
        self._folder, self._how, self._opened = folder, how, open_as(folder, how, (self.role,))

    @classmethod
    def sharing(cls: type[S], folder: Path, opened: OpenedStages, how: Opening) -> S:
        """Return the stage over engines that were opened for both; its pickle opens its own."""
        stage = cls.__new__(cls)
        stage._folder, stage._how, stage._opened = folder, how, opened
        return stage

    @property
    def variant(self) -> str:
        """Digest of the opened variant: requests are answered where it is the same."""
        return self.opened.variant

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the folder and the options; unpickling opens the bundle anew, for this stage alone."""
        return partial(type(self), self._folder, **{name: getattr(self._how, name) for name in self.options}), ()


def open_as(folder: Path, how: Opening, stages: tuple[str, ...]) -> OpenedStages:
    """Open the named stages of a bundle. Raises BundleError, BackendError, UsageError."""
    return open_stages(folder, how, limits(how.max_pixels, how.max_memory), stages)


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
