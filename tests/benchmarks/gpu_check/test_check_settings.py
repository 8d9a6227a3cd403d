"""Settings travel as JSON."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings, read_settings


def test_they_come_back_as_they_went(settings: Settings) -> None:
    assert read_settings(settings.to_json()) == settings
    other = dataclasses.replace(settings, pictures=Path("a folder"), device="cuda:1")
    assert read_settings(other.to_json()) == other
    assert settings.on_cpu and not other.on_cpu
