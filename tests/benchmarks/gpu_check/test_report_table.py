"""Rows of one step about different things are different tables."""

from __future__ import annotations

from sacvit_deploy.benchmarks.gpu_check.report_table import report


def test_each_subject_has_a_table() -> None:
    rows = [
        {"precision": "int8", "batch": 32},
        {"precision": "int8", "not run": "no such variant"},
        {"batch": 4, "contender": "cascade", "us": 3.0},
        {"batch": 4, "engine": "ee", "device ms": 0.5},
        {"batch": 4, "engine": "sac", "why not": "no memory"},
    ]
    text = report({"steps": {"int8": {"state": "done", "rows": rows}}})
    part = text[text.index("int8: ") :].split("\n\n")
    labels, product, engines = (table.splitlines() for table in ("\n".join(part[0].splitlines()[1:]), *part[1:3]))
    assert labels[0].split() == ["precision", "batch", "not", "run"] and len(labels) == 3
    assert product[0].split() == ["batch", "contender", "us"] and len(product) == 2
    assert engines[0].split() == ["batch", "engine", "device", "ms", "why", "not"] and len(engines) == 3
    assert "facts: the machine; not asked for\n\n" in text
