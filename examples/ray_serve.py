"""Serve a bundle on Ray, each stage scaled by its own load: python examples/ray_serve.py model.sacvit

Then: curl --data-binary @image.jpg 'http://127.0.0.1:8000/?eta=0.6'
"""

from __future__ import annotations

import argparse
import signal
import threading
from typing import Any

from ray import serve

from sacvit_deploy.ray.deployments import application


def scaled(most: int, ongoing: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a deployment's options: a replica more where over `ongoing` calls wait or run in each, up to `most`."""
    return {
        "autoscaling_config": {
            "min_replicas": 1,
            "max_replicas": most,
            "target_ongoing_requests": ongoing,
            "look_back_period_s": options.look_back,
            "upscale_delay_s": options.upscale_delay,
            "downscale_delay_s": options.downscale_delay,
        },
        "ray_actor_options": {"num_cpus": options.cpus},
        "max_queued_requests": options.queue,
    }


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        description="Serve a bundle on Ray Serve.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("--precision", default="auto", help="name it where the cluster's machines differ")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    # Of all images some 30 % continue, and stage 2 costs two to three times as much as stage 1: `sacvit plan` counts.
    parser.add_argument("--stage-one", type=int, default=8, help="most replicas")
    parser.add_argument("--stage-two", type=int, default=6, help="most replicas")
    parser.add_argument("--cpus", type=float, default=1, help="of a replica; a fraction where there are few")
    parser.add_argument("--batch", type=int, default=32, help="most images of an engine's call")
    parser.add_argument("--queue", type=int, default=256, help="calls that may wait for a stage; beyond them 503")
    parser.add_argument("--look-back", type=float, default=30, help="seconds whose mean load decides")
    parser.add_argument(
        "--upscale-delay", type=float, default=30, help="seconds of high load before a replica is added"
    )
    parser.add_argument("--downscale-delay", type=float, default=600, help="seconds of low load before one is removed")
    options = parser.parse_args()
    serve.start(http_options={"host": options.host, "port": options.port})
    app = application(
        options.bundle,
        stage_one=scaled(options.stage_one, 16, options),
        stage_two=scaled(options.stage_two, 8, options),
        router={"ray_actor_options": {"num_cpus": 0}},  # it waits for the others most of the time
        batch=options.batch,
        threads=1,
        precision=options.precision,
    )
    serve.run(app, name="sacvit", route_prefix="/")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(f"http://{options.host}:{options.port}/ answers; Ctrl-C ends it", flush=True)
    stop.wait()
    serve.shutdown()


if __name__ == "__main__":
    main()
