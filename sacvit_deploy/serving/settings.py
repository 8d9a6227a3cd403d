"""What a server is told: limits, batching, what it may fetch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Limits and batching of a server.

    name: the model's, in KServe's paths. max_body: bytes of a request's body. max_held: bytes of all bodies that are
    read at a time. max_queue: images that may be in the server at a time. max_images: images of one request. max_batch:
    images of an engine call. max_delay: seconds that an image may wait for others to fill a batch. body_timeout:
    seconds in which a body must have come. url_prefixes: addresses that images may be fetched from; none by default.
    """

    name: str = "model"
    max_body: int = 16 << 20
    max_held: int = 512 << 20
    max_queue: int = 256
    max_images: int = 64
    max_batch: int = 16
    max_delay: float = 0.002
    body_timeout: float = 30.0
    url_prefixes: tuple[str, ...] = ()
