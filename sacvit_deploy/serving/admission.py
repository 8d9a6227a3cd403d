"""How much work a server lets in: images, and bytes of bodies. What is beyond is refused at once, never queued."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from sacvit_deploy.serving.refusal import Refusal
from sacvit_deploy.serving.settings import Settings


class Admission:
    """Counts images and bytes in the server. Of the event loop's thread alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.images = self.held = 0
        self.stopping = False

    @contextmanager
    def request(self) -> Iterator[Ticket]:
        """Admit a request, with one image to begin with, until the block ends. Raises Refusal.

        A request that is cancelled as the time to stop is over is refused, too: its caller hears of it.
        """
        ticket = Ticket(self, self._settings)
        try:
            ticket.add_images(1)
            yield ticket
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            raise Refusal(503, "the server stopped before there was an answer; ask another one") from None
        finally:
            self.images -= ticket.images
            self.held -= ticket.held


class Ticket:
    """One request's part of what is in the server."""

    def __init__(self, admission: Admission, settings: Settings) -> None:
        self._admission, self._settings = admission, settings
        self.images = self.held = 0

    def add_images(self, count: int) -> None:
        """Take room for so many more images. Raises Refusal."""
        limits, admission = self._settings, self._admission
        if admission.stopping and not self.images:  # what was admitted is answered, whatever it turns out to be
            raise Refusal(503, "the server is stopping; ask another one")
        if self.images + count > limits.max_images:
            raise Refusal(413, f"a request can have {limits.max_images} images; send the others in another one")
        if admission.images + count > limits.max_queue:
            raise Refusal(429, f"the server has its {limits.max_queue} images in work; ask again in a second", 1)
        admission.images += count
        self.images += count

    def has_images(self, count: int) -> None:
        """Take room for `count` images in all. Raises Refusal."""
        if count > self.images:
            self.add_images(count - self.images)

    def add_bytes(self, count: int) -> None:
        """Take room for bytes of the body that came. Raises Refusal."""
        limits, admission = self._settings, self._admission
        if self.held + count > limits.max_body:
            raise too_large(limits)
        if admission.held + count > limits.max_held:
            raise Refusal(503, "the server holds as many bytes of requests as it may; ask again in a second", 1)
        admission.held += count
        self.held += count

    def give_back(self, count: int) -> None:
        """Give back room for bytes that did not come."""
        self._admission.held -= count
        self.held -= count


def too_large(limits: Settings) -> Refusal:
    """Return the refusal of a body beyond the limit."""
    return Refusal(413, f"a request's body can have {limits.max_body:,} bytes; send less, or start with --max-body")
