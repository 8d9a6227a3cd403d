"""One Ray for all tests on it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray of this machine, whose processes are known by a variable of their environment."""
    from tests.serving.ray.cluster import cluster

    os.environ["SACVIT_TEST"] = str(os.getpid())
    with cluster():
        yield
