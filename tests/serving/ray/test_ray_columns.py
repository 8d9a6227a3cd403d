"""Columns as users have them: names that are taken, nulls, and paths that are no text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sacvit_deploy import StageOne, StageTwo, UsageError
from sacvit_deploy.stage_two import both_stages
from tests.data import record

pyarrow: Any = pytest.importorskip("pyarrow", reason="NOT TESTED: columns of Ray; `make test-serving` installs pyarrow")

from sacvit_deploy.ray.columns import (  # noqa: E402
    add_stage_one,
    add_stage_two,
    image_column,
    read_images,
    read_requests,
)

pytestmark = pytest.mark.serving
FILES = [path.read_bytes() for path in record.TINY_IMAGES[:3]]


@pytest.fixture(scope="module")
def stages() -> tuple[StageOne, StageTwo]:
    return both_stages(record.BEFORE, precision="fp32", threads=1)


def classified(stages: tuple[StageOne, StageTwo], columns: dict[str, Any]) -> Any:
    """Run both stages on a table as the actors do."""
    one, two = stages
    table = pyarrow.table(columns)
    column = image_column(table.column_names, None)
    between = add_stage_one(table, column, one.predict_batch(read_images(table, column), eta=1.0))
    requests = read_requests(between)
    return add_stage_two(between, dict(zip(requests, two.predict_batch(list(requests.values())), strict=True)))


@pytest.mark.parametrize("name", ["label", "error", "request"])
def test_a_column_whose_name_is_an_answers_is_refused(stages: tuple[StageOne, StageTwo], name: str) -> None:
    with pytest.raises(UsageError, match=rf"column '{name}'.*rename_columns\({{'{name}': 'own_{name}'}}\)"):
        classified(stages, {"bytes": FILES, name: [1, 2, 3]})
    assert image_column(["label", "shop"], "label") == "label"  # it goes


def test_paths_that_are_no_text_and_rows_without_an_image(stages: tuple[StageOne, StageTwo]) -> None:
    table = classified(stages, {"bytes": [FILES[0], None, FILES[2], b"no picture"], "path": [7, 8, None, None]})
    assert table["path"].to_pylist() == [7, 8, None, None]
    assert table["stage"].to_pylist() == [2, None, 2, None]
    errors = table["error"].to_pylist()
    assert errors[0] is errors[2] is None
    assert errors[1] == "8: there is no image, it is None or null" and errors[3].startswith("row 3 is not an image")


def test_no_images_at_all_and_arrays(stages: tuple[StageOne, StageTwo]) -> None:
    table = classified(stages, {"bytes": pyarrow.nulls(2)})
    assert table["error"].to_pylist() == [f"row {row}: there is no image, it is None or null" for row in range(2)]
    pixels = np.zeros((2, 64, 64, 3), np.uint8)
    kind = pyarrow.fixed_shape_tensor(pyarrow.uint8(), (64, 64, 3))
    whole = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(pixels)
    assert classified(stages, {"image": whole})["stage"].to_pylist() == [2, 2]
    rows = [pixels[0].ravel().tolist(), None]
    gap = pyarrow.ExtensionArray.from_storage(kind, pyarrow.array(rows, kind.storage_type))
    table = classified(stages, {"image": gap})
    assert table["stage"].to_pylist() == [2, None]
