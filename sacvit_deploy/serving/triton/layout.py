"""Names in a model repository: its models, their files, and the keys of their parameters."""

from __future__ import annotations

CASCADE = "sacvit"  # the model that clients call; the stages are called as their engines are, `ee` and `sac`
CONFIG = "config.pbtxt"
VERSION = "1"  # the folder of each model's only version
BUNDLE = "bundle.sacvit"  # in a version's folder: the part of the bundle that the model reads

ETA, ALPHA, PRECISION, ROLE, BACKEND, THREADS = "eta", "alpha", "precision", "role", "backend", "threads"
MAX_PIXELS, MAX_MEMORY = "max_pixels", "max_memory"  # limits of an image; without them the defaults
TARGETS = "targets"  # from and to: how many the plans take
FAILED = 0  # what stands as the stage of an image that has no answer
NO_TARGET = -1  # what stands as the targets of an image that did not reach stage 2
