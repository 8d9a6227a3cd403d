"""`--vs a.onnx`: any classifier a user brings, with whatever names, picture size and batch its file has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.errors import BackendError, UsageError

FLOATS = ("tensor(float)", "tensor(float16)")


@dataclass(frozen=True)
class Foreign:
    """What an ONNX file takes and gives: names, picture size S, batch and classes; None is any."""

    path: Path
    input: str
    output: str
    size: int | None
    batch: int | None
    classes: int | None


def examine(path: Path) -> Foreign:
    """Read a file's interface. Raises UsageError unless it is one picture [B,3,S,S] in and one row of [B,C] out."""
    if not path.is_file():
        raise UsageError(f"--vs {path}: there is no such file")
    library = load_library()
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own exceptions share no base class but this
        reason = str(error).strip().splitlines()[0][:160]
        raise UsageError(f"--vs {path}: ONNX Runtime can't load it ({reason})") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    named = ", ".join(f"{item.name} {item.shape}" for item in inputs)
    if len(inputs) != 1:
        raise UsageError(f"--vs {path} takes {len(inputs)} inputs ({named}); only one, a picture, can be given")
    taken, given = inputs[0], outputs[0]
    shape = [dim if isinstance(dim, int) else None for dim in taken.shape]
    if taken.type not in FLOATS or len(shape) != 4 or shape[1] not in (3, None) or shape[2] != shape[3]:
        raise UsageError(f"--vs {path} takes {named} of {taken.type}; it must be float pictures [B,3,S,S]")
    if len(given.shape) != 2 or given.type not in FLOATS:
        raise UsageError(f"--vs {path} gives {given.name} {given.shape} first; it must be logits [B,C]")
    classes = given.shape[1] if isinstance(given.shape[1], int) else None
    return Foreign(path, taken.name, given.name, shape[2], shape[0], classes)


def check_batch(found: Foreign, batch: int) -> None:
    """Raise UsageError where calls of the file's fixed batch do not make up `batch`."""
    if found.batch is not None and batch % found.batch:
        raise UsageError(
            f"--vs {found.path} takes batches of {found.batch} alone, which do not make up {batch}; choose --batch in "
            f"multiples of {found.batch}, or export it with a dynamic batch"
        )


def open_foreign(found: Foreign, backend: Backend, size: int) -> Callable[[Array], Array]:
    """Open it like every other contender: `Direct.classify` for pictures of the bundle's `size`.

    A fixed batch is called as often as needed, the last one filled up. Raises UsageError for another picture size,
    BackendError where the backend can't run it.
    """
    if found.size not in (None, size):
        raise UsageError(
            f"--vs {found.path} takes pictures of {found.size} px, the bundle's have {size}: that would compare sizes; "
            "export it for the same"
        )
    engine = backend.open(found.path, None)

    def run(view: Array) -> Array:
        out = engine.run({found.input: view})
        if found.output not in out:
            raise BackendError(f"{found.path} gave no {found.output}")
        return out[found.output]

    def classify(view: Array) -> Array:
        if found.batch is None:
            return run(view)
        fixed, count = found.batch, len(view)
        missing = -count % fixed
        whole = view if not missing else np.concatenate([view, np.repeat(view[-1:], missing, axis=0)])
        parts = [run(whole[at : at + fixed]) for at in range(0, len(whole), fixed)]
        return np.concatenate(parts)[:count]

    return classify
