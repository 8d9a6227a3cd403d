"""`sacvit serve`: a bundle behind HTTP."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click
import numpy as np
import uvicorn

from sacvit_deploy.bundle.find import find_bundle
from sacvit_deploy.commands.common import backend_options, bundle_argument
from sacvit_deploy.commands.stopping import leave
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import printable, say
from sacvit_deploy.errors import UsageError
from sacvit_deploy.item import Item
from sacvit_deploy.serving.app import Service
from sacvit_deploy.serving.settings import Settings
from sacvit_deploy.serving.urls import check_prefix
from sacvit_deploy.stage_one import StageOne
from sacvit_deploy.stage_two import StageTwo, both_stages

CONNECTIONS = 1024  # open at a time; uvicorn answers 503 beyond it
KEEP_ALIVE = 5  # seconds that an idle connection stays open


@click.command("serve", cls=StrictCommand)
@bundle_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is everybody's.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--name", default="model", show_default=True, help="The model's name in KServe's paths.")
@click.option("--max-batch", type=click.IntRange(1), default=Settings.max_batch, show_default=True)
@click.option(
    "--max-delay", type=click.FloatRange(0, 10), default=0.002, show_default=True, help="Seconds to wait for a batch."
)
@click.option("--max-queue", type=click.IntRange(1), default=256, show_default=True, help="Images at a time; else 429.")
@click.option("--max-images", type=click.IntRange(1), default=64, show_default=True, help="Images of one request.")
@click.option("--max-body", type=click.IntRange(1), default=16, show_default=True, help="MB of one request; else 413.")
@click.option("--grace", type=click.IntRange(0), default=30, show_default=True, help="Seconds to finish, when stopped.")
@click.option("--allow-url", multiple=True, help="Fetch images whose address begins with this; repeatable.")
@backend_options
def command(
    bundle: Path | None,
    host: str,
    port: int,
    name: str,
    max_batch: int,
    max_delay: float,
    max_queue: int,
    max_images: int,
    max_body: int,
    grace: int,
    allow_url: tuple[str, ...],
    capture: bool,
    **runtime: Any,  # of `backend_options`
) -> int:
    """Serve a BUNDLE over HTTP: images to answers, KServe v2, metrics, and stage 2 for other machines.

    For edge boxes and demos. There is no password and no encryption: a proxy in front has these. Ctrl-C and SIGTERM
    answer what was taken, then end it.
    """
    if capture:
        raise UsageError("--capture records calls on a device, and the server's engines take arrays; leave it out")
    settings = Settings(
        name=name,
        max_body=max_body << 20,
        max_queue=max_queue,
        max_images=min(max_images, max_queue),
        max_batch=max_batch,
        max_delay=max_delay,
        url_prefixes=tuple(check_prefix(prefix) for prefix in allow_url),
    )
    with listening(host, port) as listener:
        folder = find_bundle() if bundle is None else bundle
        one, two = both_stages(folder, **runtime)
        warm(one, two)
        place = f"{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        described = f"{one.precision} on {one.opened.cascade.backend.description}"
        service = Service(one, two, settings)
        say(f"serving {printable(str(folder))} ({described}) at http://{place}, described at http://{place}/docs")
        run(service, listener, grace)
        service.close()
    return 0


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raises UsageError where it can't."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, else asyncio leaves Nagle's algorithm on, and answers wait 40 ms for the client's
    # delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let two servers take one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS)
        return listener
    except OSError as error:
        listener.close()
        raise UsageError(
            f"can't listen on {host} port {port} ({error.strerror or error}); choose others with --host and --port"
        ) from error


def warm(one: StageOne, two: StageTwo) -> None:
    """Run both engines once, so that the server is ready when it says so. Raises BackendError."""
    side = one.config.geometry.image_size
    black = Item("<warm-up>", np.zeros((side, side, 3), np.uint8))
    two.predict_batch(one.run([black], 1.0, one.config.num_targets(None)))


class Server(uvicorn.Server):
    """uvicorn's server, which tells the service when it begins to stop."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Refuse what comes on connections that stay open while their answers go out; a second signal ends at once.

        uvicorn's own handler is left out: it would raise the signal again when it is done, and an orderly end is no
        failure.
        """
        if self.should_exit:
            leave(signal.Signals(sig))
        self._service.admission.stopping = True
        self.should_exit = True


def run(service: Service, listener: socket.socket, grace: int) -> None:
    """Serve until Ctrl-C or SIGTERM, then answer what was taken, for up to `grace` seconds; the rest gets 503."""
    config = uvicorn.Config(
        service.app,
        # Named, or what else is installed would decide.
        loop="asyncio",
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=grace,
    )
    server = Server(config, service)
    # A signal that comes before uvicorn listens to them is not lost, nor a second one after uvicorn is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    server.run(sockets=[listener])
