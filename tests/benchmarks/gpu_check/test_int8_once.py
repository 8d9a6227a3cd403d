"""int8 on the device: labels beside those of int8 on the CPU, every engine, the product."""

from __future__ import annotations

import dataclasses

import pytest

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.int8_once import measure
from sacvit_deploy.errors import SacvitError


def test_rows_from_the_labels_to_what_takes_longest(settings: Settings) -> None:
    """The precision of the other steps does not matter. What the device changes is what the CPU's rows do not have."""
    rows = list(measure(dataclasses.replace(settings, precision="fp16")))
    labels, others = rows[:4], rows[4:]
    assert [row["precision"] for row in labels] == ["int8"] * 2 + ["int8, on the CPU"] * 2
    device, host = labels[:2], labels[2:]
    keys = ("batch", "eta", "images", "labels equal", "stages equal", "continued")
    assert [[row[key] for key in keys] for row in device] == [[row[key] for key in keys] for row in host]
    assert [row["images"] for row in labels] == [settings.images] * 4
    names = ["ee", "sac", "view", "gather", "deit", "whole", "cascade 23% int8", "deit int8"]
    assert [row.get("contender", row.get("engine")) for row in others] == names
    assert {row["batch"] for row in others} == {settings.batches[0]}
    assert not any("why not" in row or "why" in row for row in others)


def test_a_device_without_int8_is_a_reason(settings: Settings) -> None:
    with pytest.raises(SacvitError, match="nowhere"):
        list(measure(dataclasses.replace(settings, device="nowhere")))
