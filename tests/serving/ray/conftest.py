"""One Ray for all tests on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """The address of a Ray of this machine."""
    from sacvit_deploy.benchmarks.load.local_ray import local_ray

    with local_ray() as address:
        yield address
