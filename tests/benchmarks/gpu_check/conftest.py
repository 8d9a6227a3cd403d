"""A check at sizes that take a second: the recorded tiny bundle, on the CPU."""

from __future__ import annotations

import pytest

from sacvit_deploy.benchmarks.gpu_check.check_settings import Settings
from sacvit_deploy.benchmarks.gpu_check.subject import Subject, open_subject
from tests.data import record


@pytest.fixture
def settings() -> Settings:
    return Settings(
        "cpu",
        "fp32",
        record.BEFORE,
        record.BEFORE,
        None,
        batches=(4, 1),
        images=8,
        least=12,
        rounds=1,
        seconds=0.01,
        workers=2,
    )


@pytest.fixture
def subject(settings: Settings) -> Subject:
    return open_subject(settings)
