"""What a loaded plan takes and gives, and which of its profiles a call takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sacvit_deploy.device.protocol import DeviceTensor, Shape, TensorSpec
from sacvit_deploy.errors import BackendError

DTYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64, "INT32": np.int32, "UINT8": np.uint8}
Profile = Mapping[str, tuple[Shape, Shape, Shape]]


def read_tensors(engine: Any) -> tuple[dict[str, TensorSpec], dict[str, TensorSpec]]:
    """Return an engine's inputs and its outputs by name; -1 is an open dimension. Raises BackendError."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    specs = {name: TensorSpec(_dtype(engine, name), tuple(engine.get_tensor_shape(name))) for name in names}
    inputs = {name for name in names if engine.get_tensor_mode(name).name == "INPUT"}
    return (
        {name: spec for name, spec in specs.items() if name in inputs},
        {name: spec for name, spec in specs.items() if name not in inputs},
    )


def read_profiles(engine: Any) -> list[Profile]:
    """Return the shapes each profile of an engine allows, by input: min, opt, max."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    profiles: list[Profile] = []
    for number in range(engine.num_optimization_profiles):
        shapes = {name: [tuple(dims) for dims in engine.get_tensor_profile_shape(name, number)] for name in inputs}
        profiles.append({name: (low, opt, high) for name, (low, opt, high) in shapes.items()})
    return profiles


def choose_profile(profiles: list[Profile], tensors: Mapping[str, DeviceTensor], name: str) -> int:
    """Return the narrowest profile that allows the shapes. Raises BackendError naming what is out of range."""
    fitting = [
        number
        for number, profile in enumerate(profiles)
        if all(_within(tensors[key].shape, shapes) for key, shapes in profile.items())
    ]
    if not fitting:
        widest = max(profiles, key=lambda profile: _volume(profile))
        key = next(key for key, shapes in widest.items() if not _within(tensors[key].shape, shapes))
        low, _, high = widest[key]
        raise BackendError(
            f"{name} takes `{key}` of {list(low)} to {list(high)}, not {list(tensors[key].shape)}; ask for "
            "another batch or alpha, or build plans with another --batch or --alpha"
        )
    return min(fitting, key=lambda number: _volume(profiles[number]))


def _within(shape: Shape, profile: tuple[Shape, Shape, Shape]) -> bool:
    lows, _, highs = profile
    return all(low <= size <= high for low, size, high in zip(lows, shape, highs, strict=True))


def _volume(profile: Profile) -> int:
    """Count the numbers in the largest inputs a profile allows."""
    return sum(int(np.prod(high)) for _, _, high in profile.values())


def _dtype(engine: Any, name: str) -> np.dtype[Any]:
    word = engine.get_tensor_dtype(name).name
    if word not in DTYPES:
        raise BackendError(f"the plan's `{name}` is of type {word.lower()}, which no engine of a bundle has")
    return np.dtype(DTYPES[word])
