"""The stages of several devices at once, for one stream of images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.protocol import Stages


@contextlib.contextmanager
def replicas(pools: Sequence[ContextPool], count: int, batch: int) -> Iterator[Sequence[Stages]]:
    """Lend the stages of every pool, the least used first, so that streams of a single batch spread over the devices.

    Raises what `ContextPool.stages` does; an error of one device ends the stream on all.
    """
    with contextlib.ExitStack() as stack:
        ordered = sorted(pools, key=lambda pool: pool.lent)
        yield [stack.enter_context(pool.stages(count, batch)) for pool in ordered]
