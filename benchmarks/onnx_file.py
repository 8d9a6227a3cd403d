"""`--vs a.onnx`: a user's own classifier, with any input name, image size and batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sacvit_deploy.arrays import Array
from sacvit_deploy.backends.onnxruntime.session import load_library
from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.errors import BackendError, UsageError, first_line

FLOATS = ("tensor(float)", "tensor(float16)")


@dataclass(frozen=True)
class OnnxClassifier:
    """Interface of an ONNX file: names, image size S, batch and classes; None where dynamic."""

    path: Path
    input: str
    output: str
    size: int | None
    batch: int | None
    classes: int | None


def read_interface(path: Path) -> OnnxClassifier:
    """Read a file's interface. Raises UsageError unless it maps images [B,3,S,S] to logits [B,C]."""
    if not path.is_file():
        raise UsageError(f"--vs {path}: there is no such file")
    library = load_library()
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = library.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's own exceptions share no base class but this
        raise UsageError(f"--vs {path}: ONNX Runtime can't load it ({first_line(error, 160)})") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    named = ", ".join(f"{item.name} {item.shape}" for item in inputs)
    if len(inputs) != 1:
        raise UsageError(f"--vs {path} takes {len(inputs)} inputs ({named}); only one, an image, can be given")
    taken, given = inputs[0], outputs[0]
    shape = [dim if isinstance(dim, int) else None for dim in taken.shape]
    if taken.type not in FLOATS or len(shape) != 4 or shape[1] not in (3, None) or shape[2] != shape[3]:
        raise UsageError(f"--vs {path} takes {named} of {taken.type}; it must be float images [B,3,S,S]")
    if len(given.shape) != 2 or given.type not in FLOATS:
        raise UsageError(f"--vs {path} gives {given.name} {given.shape} first; it must be logits [B,C]")
    classes = given.shape[1] if isinstance(given.shape[1], int) else None
    return OnnxClassifier(path, taken.name, given.name, shape[2], shape[0], classes)


def check_batch(file: OnnxClassifier, batch: int) -> None:
    """Raise UsageError where `batch` is no multiple of the file's fixed batch."""
    if file.batch is not None and batch % file.batch:
        raise UsageError(
            f"--vs {file.path} takes batches of {file.batch} alone, which do not make up {batch}; choose --batch in "
            f"multiples of {file.batch}, or export it with a dynamic batch"
        )


def open_classifier(file: OnnxClassifier, backend: Backend, size: int) -> Callable[[Array], Array]:
    """Open a file as a function from images [B,3,S,S] to logits [B,C]. size: the bundle's image size S.

    A file with a fixed batch is called as often as needed, the last call padded. Raises UsageError for another image
    size, BackendError where the backend can't run the file.
    """
    if file.size not in (None, size):
        raise UsageError(
            f"--vs {file.path} takes images of {file.size} px, the bundle's have {size}: that would compare sizes; "
            "export it for the same size"
        )
    engine = backend.open(file.path, None)

    def classify(view: Array) -> Array:
        count, size = len(view), file.batch or len(view)
        whole = np.concatenate([view, np.repeat(view[-1:], -count % size, axis=0)]) if count % size else view
        parts = [engine.run({file.input: whole[at : at + size]}) for at in range(0, len(whole), size)]
        if file.output not in parts[0]:
            raise BackendError(f"{file.path} gave no {file.output}")
        return np.concatenate([part[file.output] for part in parts])[:count]

    return classify
