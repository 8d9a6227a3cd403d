"""The protocol of a backend: a library that runs engines on one device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.errors import BackendError

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.device.protocol import Device


class Engine(Protocol):
    """One loaded stage."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs and outputs by the contract's names; inputs are cast to what the engine takes."""
        ...

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The element type the engine takes for an input."""
        ...


class Backend(Protocol):
    """A library that runs engines on one device. One backend serves both stages, so that they can share weights."""

    @property
    def description(self) -> str:
        """Library, version and device, for people."""
        ...

    def precisions(self, bundle: Bundle) -> list[str]:
        """The variants of a bundle that it can open. Raises BundleError."""
        ...

    def files(self, bundle: Bundle, precision: str) -> dict[str, Path]:
        """A variant's files by role, checked, in the form this backend opens. Raises BundleError."""
        ...

    def open(self, stage: Path, weights: Path | None) -> Engine:
        """Load one stage. Raises BackendError."""
        ...

    def device(self, files: Mapping[str, Path]) -> Device | None:
        """The same files with everything kept on a device; None where the processor computes. Raises BackendError."""
        ...


def as_taken(inputs: Mapping[str, Array], dtypes: Mapping[str, np.dtype[Any]], stage: str) -> dict[str, Array]:
    """Inputs as an engine takes them: those of `dtypes`, in its order, contiguous and cast.

    stage: what the error for a missing one calls the engine. Raises BackendError.
    """
    for name in dtypes:
        if name not in inputs:
            raise BackendError(f"{stage} asks for `{name}`, which this stage is not given")
    return {name: np.ascontiguousarray(inputs[name], dtype=dtype) for name, dtype in dtypes.items()}
