"""The protocol of a backend: a library that runs engines on one device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.errors import BackendError

if TYPE_CHECKING:
    from sacvit_deploy.bundle.bundle import Bundle
    from sacvit_deploy.bundle.held import EngineFile, Held
    from sacvit_deploy.device.protocol import Device


class Engine(Protocol):
    """Loaded engine with host arrays in and out."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once. Inputs and outputs go by the contract's names; inputs are made contiguous and cast.

        Raises BackendError.
        """

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """Return the element type of an input."""


class Backend(Protocol):
    """A library that runs engines on one device; one backend serves both stages."""

    @property
    def description(self) -> str:
        """Library, version and device, as text."""

    def precisions(self, bundle: Bundle) -> list[str]:
        """List the variants of a bundle that can be opened here. Raises BundleError."""

    def files(self, bundle: Bundle, precision: str) -> dict[str, Held]:
        """Read a variant's files into memory, checked, by role, as this backend opens them.

        Raises BundleError, BackendError.
        """

    def open(self, stage: EngineFile, weights: EngineFile | None) -> Engine:
        """Load one engine; of files that are held, nothing is read from the disk. Raises BackendError, BundleError."""

    def device(self, files: Mapping[str, EngineFile]) -> Device | None:
        """Return a device that keeps every tensor of these files; None where the CPU computes. Raises BackendError."""


def as_taken(inputs: Mapping[str, Array], dtypes: Mapping[str, np.dtype[Any]], name: str) -> dict[str, Array]:
    """Return inputs as an engine takes them: those in `dtypes`, in its order, contiguous and cast.

    name: the engine's, for the error about a missing input. Raises BackendError.
    """
    for key in dtypes:
        if key not in inputs:
            raise BackendError(f"{name} asks for `{key}`, which this stage is not given")
    return {key: np.ascontiguousarray(inputs[key], dtype=dtype) for key, dtype in dtypes.items()}
