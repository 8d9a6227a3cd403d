"""Text tables: alignment, indentation, widths."""

from __future__ import annotations

from sacvit_deploy.console.tables import text_table


def test_the_first_column_is_aligned_left_and_the_others_right() -> None:
    found = text_table([("name", ["a", "longer"]), ("ms", ["1.5", "10.25"]), ("", ["x", "-"])])
    assert found.splitlines() == ["  name       ms", "  a         1.5  x", "  longer  10.25  -"]


def test_sides_and_indentation_can_be_chosen() -> None:
    assert text_table([("a", ["12"]), ("b", ["3"])], align="><", indent="") == " a  b\n12  3"
