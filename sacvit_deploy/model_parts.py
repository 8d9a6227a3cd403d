"""The parts of an opened model, for whoever runs them without the public calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from sacvit_deploy.backends.protocol import Backend
from sacvit_deploy.cascade import Cascade
from sacvit_deploy.handle import Handle
from sacvit_deploy.images.pixel_arrays import Channels, check_channels
from sacvit_deploy.images.sources import AnySource
from sacvit_deploy.item import Item
from sacvit_deploy.opened import OpenedModel
from sacvit_deploy.stages.context_pool import ContextPool
from sacvit_deploy.stages.protocol import Stages


class ModelParts(Handle[OpenedModel]):
    """A bundle opened for both stages: backend, engines, devices, and the steps before them."""

    kind = "model"

    @property
    def backend(self) -> Backend:
        """The backend that runs the engines."""
        return self.opened.backend

    @property
    def cascade(self) -> Cascade:
        """The two engines, with arrays in and out."""
        return self.opened.cascade

    @property
    def pool(self) -> ContextPool | None:
        """What runs them on a device; None where the CPU does."""
        return self.opened.pool

    @property
    def eta(self) -> float:
        """Default eta of the loaded variant."""
        return self.opened.eta

    def stages(self, count: int, batch: int) -> AbstractContextManager[Stages | Sequence[Stages]]:
        """Lend the stages, on the devices or the host, for M = `count` and batches of up to `batch` images."""
        return self.opened.stages(count, batch)

    def prepare(self, source: AnySource, channels: Channels = "rgb") -> Item:
        """Decode an image and fit it to [S,S,3]; an error goes into the item. channels: see `predict`."""
        return self.opened.preparer.full(source, check_channels(channels))

    def prepare_scaled(self, source: AnySource, channels: Channels = "rgb") -> Item:
        """Decode a JPEG that is large enough at a fraction of its size, for stage 1 alone; else as `prepare`."""
        return self.opened.preparer.scaled(source, check_channels(channels))
