"""What `auto` means: by device, by processor, by what the bundle has."""

from __future__ import annotations

import pytest

from sacvit_deploy.backends.choose import choose_precision
from sacvit_deploy.cpu import FEATURES, cpu_features
from sacvit_deploy.precisions import PRECISIONS

ALL = ["fp32", "fp16", "int8"]


@pytest.mark.parametrize(
    ("available", "provider", "features", "chosen"),
    [
        (ALL, None, ["avx2"], "fp32"),
        (ALL, None, ["avx2", "avx512_vnni"], "int8"),
        (ALL, "CPUExecutionProvider", ["amx_int8"], "int8"),
        (ALL, "cpu", ["asimddp"], "int8"),
        (ALL, "openvino", ["avx512_vnni"], "int8"),
        (ALL, "openvino", ["avx2"], "fp32"),
        (ALL, "cuda", ["amx_int8"], "fp16"),
        (["fp32", "fp16"], "cpu", ["amx_int8"], "fp32"),
        (["fp32", "fp16"], None, [], "fp32"),
        (["fp16"], None, ["avx2"], "fp16"),
        (["int8", "fp16"], None, [], "int8"),
        (["int8"], "cuda", [], "int8"),
        (["fp32"], "cuda", [], "fp32"),
    ],
)
def test_precision_chosen_for_the_machine(
    available: list[str], provider: str | None, features: list[str], chosen: str
) -> None:
    assert choose_precision(available, provider, features)[0] == chosen


def test_the_reason_names_what_decided() -> None:
    assert "avx512_vnni" in choose_precision(ALL, None, ["avx2", "avx512_vnni"])[1]
    assert "no int8 variant" in choose_precision(["fp32"], None, ["avx512_vnni"])[1]
    assert "cuda" in choose_precision(ALL, "cuda", [])[1]
    assert "no fast" in choose_precision(ALL, None, ["avx2"])[1]


def test_this_processor_is_looked_at() -> None:
    assert set(cpu_features()) <= set(FEATURES)
    assert set(PRECISIONS["int8"].fast_with) <= set(FEATURES)
    assert choose_precision(ALL, None) == choose_precision(ALL, None, cpu_features())
