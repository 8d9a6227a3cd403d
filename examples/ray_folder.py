"""Classify a folder of images on Ray, into Parquet: python examples/ray_folder.py FOLDER BUNDLE OUT

What `sacvit infer` does on one machine, on a cluster: each stage in as many processes as there are CPUs for.
"""

from __future__ import annotations

import argparse

import ray.data

from sacvit_deploy.ray.data import classify


def main() -> None:
    """Write a row for each image: path, label, probability, stage, targets, error."""
    parser = argparse.ArgumentParser(description="Classify a folder of images on Ray.")
    parser.add_argument("folder", help="images; s3:// and the like, too")
    parser.add_argument("bundle", help="at the same path on every machine")
    parser.add_argument("out", help="folder of Parquet files")
    parser.add_argument("--precision", default="auto", help="name it where the cluster's machines differ")
    parser.add_argument("--stage-one", type=int, default=1, help="processes of stage 1")
    parser.add_argument("--stage-two", type=int, default=1, help="of stage 2; 0: the first ones run both")
    parser.add_argument("--cpus", type=float, default=0.5, help="of each process; leave one of all for the readers")
    parser.add_argument("--gpus", type=float, help="NVIDIA GPUs of each process, such as 1; not run on one")
    options = parser.parse_args()
    labels = classify(
        ray.data.read_binary_files(options.folder, include_paths=True),
        options.bundle,
        stage_one_actors=options.stage_one,
        stage_two_actors=options.stage_two,
        num_cpus=options.cpus,
        num_gpus=options.gpus,
        device="cuda" if options.gpus else None,
        precision=options.precision,
    )
    labels.write_parquet(options.out)


if __name__ == "__main__":
    main()
