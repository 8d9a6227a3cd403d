#!/bin/sh
# Your own threshold: sh own_threshold.sh BUNDLE DATA IMAGE. DATA has a folder of images for each class.
# Chooses the cheapest eta that loses at most one point of accuracy against stage 2 for every image, and writes it into
# the bundle. For a single run: sacvit-infer IMAGE --eta 0.8
set -e
sacvit sweep "$1" --data "$2" --target-accuracy 1 --write
sacvit-infer "$3" --bundle "$1"
