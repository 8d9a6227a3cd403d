"""How tests/minimum.py reads pyproject.toml: every requirement, with its lower bound."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.minimum import RUNTIME, WHOLE, numbers, requirements

PROJECT = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")


def test_every_requirement_of_the_project_has_a_lower_bound() -> None:
    extras = re.findall(r"^(\w[\w-]*) = \[", PROJECT.partition("[project.optional-dependencies]")[2], re.MULTILINE)
    names = extras[: extras.index("dev") + 1]
    assert {*RUNTIME, *WHOLE} <= set(names)
    found = list(requirements(PROJECT, names))
    assert {"numpy", "pillow", "click", "torch", "onnx", "onnxruntime", "tensorrt"} <= {name for name, *_ in found}
    assert all(numbers(bound) for _, bound, _, _ in found)


def test_bounds_and_markers_are_kept_apart() -> None:
    text = 'dependencies = ["a>=1.2"]\ndev = [\n    "b-c>=23,<24",\n    "d>=2; sys_platform == \'linux\'",\n]\n'
    assert list(requirements(text, ["dev"])) == [
        ("a", "1.2", "", ""),
        ("b-c", "23", ",<24", ""),
        ("d", "2", "", "sys_platform == 'linux'"),
    ]


def test_a_requirement_without_a_lower_bound_is_refused() -> None:
    with pytest.raises(AssertionError, match="torch has no lower bound|torch in pyproject.toml has no lower bound"):
        list(requirements('dependencies = ["torch"]\n', []))


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("1.10") > numbers("1.9.3") > numbers("1.9")
    assert numbers("2.0") == numbers("2") == numbers("2.0.0")
