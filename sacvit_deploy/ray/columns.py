"""Rows of Arrow tables: images out of them, answers and requests to stage 2 into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow

from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.images.sources import Claimed
from sacvit_deploy.prediction import Prediction
from sacvit_deploy.request import StageTwoRequest
from sacvit_deploy.stage_one import StageOneResult

IMAGES = ("bytes", "image", "path")  # columns that hold images, as Ray's readers name them; the first one is taken
PATH, REQUEST = "path", "request"
# Types whose values are files' bytes or paths; all others are arrays.
VALUES = (
    pyarrow.types.is_string,
    pyarrow.types.is_large_string,
    pyarrow.types.is_binary,
    pyarrow.types.is_large_binary,
    pyarrow.types.is_null,
)
PROBABILITIES = pyarrow.field("probabilities", pyarrow.list_(pyarrow.float32()))  # only where asked for
# An image without an answer has its error, and null in all other columns.
ANSWER = pyarrow.schema(
    [
        ("label", pyarrow.string()),
        ("index", pyarrow.int32()),
        ("probability", pyarrow.float32()),
        ("stage", pyarrow.int8()),
        ("stage_one_probability", pyarrow.float64()),
        ("targets", pyarrow.list_(pyarrow.int32())),
        ("error", pyarrow.string()),
    ]
)


def image_column(names: Sequence[str], column: str | None) -> str:
    """Return the name of the column with the images.

    Raises UsageError where there is none, or where another column has the name of one that comes in its place.
    """
    for name in IMAGES if column is None else (column,):
        if name in names:
            break
    else:
        wanted = " or ".join(IMAGES) if column is None else column
        raise UsageError(f"there is no column {wanted} among {', '.join(names)}; name the images' with column=")
    kept = [each for each in names if each != name or name == PATH]
    if taken := [each for each in kept if each in (*ANSWER.names, PROBABILITIES.name, REQUEST)]:
        raise UsageError(
            f"the rows have a column {taken[0]!r}, the name of one that the answers come in; rename it before, with "
            f"dataset.rename_columns({{{taken[0]!r}: 'own_{taken[0]}'}})"
        )
    return name


def read_images(table: Any, column: str) -> list[Claimed]:
    """Return a table's images: files' bytes, their paths, or arrays (tensors of Ray Data), with the rows' names.

    The name is the path, `row N` of the table where there is none. A row without an image has None.
    """
    paths = table[PATH].to_pylist() if PATH in table.column_names else [None] * len(table)
    names = [f"row {row}" if path is None else str(path) for row, path in enumerate(paths)]
    kind = table.schema.field(column).type
    if any(is_kind(kind) for is_kind in VALUES):
        images = table[column].to_pylist()
    else:
        images = [image for chunk in table[column].chunks for image in _arrays(chunk)]
    return [Claimed(name, image) for name, image in zip(names, images, strict=True)]


def _arrays(chunk: Any) -> Any:
    """Return the images [n,H,W,3], of one size or each of its own, of a column of tensors; None for null."""
    if isinstance(chunk, pyarrow.FixedShapeTensorArray):
        images = iter(chunk.drop_null().to_numpy_ndarray())
        return [next(images) if valid else None for valid in chunk.is_valid().to_pylist()]
    return chunk.to_numpy(zero_copy_only=False)


def add_stage_one(table: Any, column: str, results: Sequence[StageOneResult], *, probabilities: bool = False) -> Any:
    """Return a table without its images, with the answers of those that exit and the requests of the others.

    probabilities: answers have those of all classes.
    """
    answers = [None if isinstance(result, StageTwoRequest) else result for result in results]
    requests = [result.to_bytes() if isinstance(result, StageTwoRequest) else None for result in results]
    # A path stays: it is the row's name.
    kept = table if column == PATH else table.drop_columns([column])
    fields = [*ANSWER, *([PROBABILITIES] if probabilities else [])]
    return _with(kept, fields, [_row(answer, probabilities) for answer in answers]).append_column(
        REQUEST, pyarrow.array(requests, pyarrow.binary())
    )


def add_answers(
    table: Any, column: str, results: Sequence[Prediction | SacvitError], *, probabilities: bool = False
) -> Any:
    """Return a table without its images, with the answers of both stages. probabilities: see `add_stage_one`."""
    return add_stage_one(table, column, results, probabilities=probabilities).drop_columns([REQUEST])


def read_requests(table: Any) -> dict[int, bytes]:
    """Return the requests to stage 2 by their rows."""
    found = enumerate(table[REQUEST].to_pylist())
    return {row: request for row, request in found if request is not None}


def add_stage_two(table: Any, answers: dict[int, Prediction | SacvitError]) -> Any:
    """Return a table with the answers of stage 2 in their rows, without requests."""
    fields = [field for field in (*ANSWER, PROBABILITIES) if field.name in table.column_names]
    rows = table.select([field.name for field in fields]).to_pylist()
    for row, answer in answers.items():
        rows[row] = _row(answer, PROBABILITIES in fields)
    return _with(table.drop_columns([REQUEST]), fields, rows)


def _row(answer: Prediction | SacvitError | None, probabilities: bool) -> dict[str, Any]:
    if answer is None:
        return {}
    if isinstance(answer, SacvitError):
        return {"error": str(answer)}
    targets = None if answer.targets is None else answer.targets.astype(np.int32)
    return {
        "label": answer.label,
        "index": answer.index,
        "probability": answer.probability,
        "stage": answer.stage,
        "stage_one_probability": answer.stage_one_probability,
        "targets": targets,
        **({PROBABILITIES.name: answer.probabilities} if probabilities else {}),
    }


def _with(table: Any, fields: Sequence[Any], rows: Sequence[dict[str, Any]]) -> Any:
    """Return a table with the answers' columns, in place of those that it has."""
    table = table.drop_columns([field.name for field in fields if field.name in table.column_names])
    for field in fields:
        table = table.append_column(field, pyarrow.array([row.get(field.name) for row in rows], field.type))
    return table
