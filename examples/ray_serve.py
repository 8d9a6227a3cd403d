"""Serve a bundle on Ray, each stage scaled by its own load: python examples/ray_serve.py model.sacvit

Then: curl --data-binary @image.jpg 'http://127.0.0.1:8000/?eta=0.6'
"""

from __future__ import annotations

import argparse
import time

from ray import serve

from sacvit_deploy.ray.deployments import application

# Of all images some 30 % continue, and stage 2 costs two to three times as much as stage 1: `sacvit plan` counts.
# A replica is added where more calls than `target_ongoing_requests` wait or run in each.
STAGE_ONE = {
    "autoscaling_config": {"min_replicas": 1, "max_replicas": 8, "target_ongoing_requests": 16},
    "ray_actor_options": {"num_cpus": 1},
    "max_queued_requests": 256,  # beyond them: 503
}
STAGE_TWO = {
    "autoscaling_config": {"min_replicas": 1, "max_replicas": 6, "target_ongoing_requests": 8},
    "ray_actor_options": {"num_cpus": 1},
    "max_queued_requests": 128,
}
ROUTER = {"ray_actor_options": {"num_cpus": 0}}  # it waits for the others most of the time


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Serve a bundle on Ray Serve.")
    parser.add_argument("bundle")
    parser.add_argument("--precision", default="auto", help="name it where the cluster's machines differ")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    serve.start(http_options={"host": options.host, "port": options.port})
    app = application(
        options.bundle,
        stage_one=STAGE_ONE,
        stage_two=STAGE_TWO,
        router=ROUTER,
        threads=1,
        precision=options.precision,
    )
    serve.run(app, name="sacvit", route_prefix="/")
    print(f"http://{options.host}:{options.port}/ answers; Ctrl-C ends it", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()


if __name__ == "__main__":
    main()
